"""All checks of properties that the schemas do not check; each takes the objects of a file and yields the problems."""

from collections.abc import Callable, Iterator

from tests.k8s import jobs, nodes, resources, security, wiring
from tests.k8s.objects import Object

Check = Callable[[list[Object]], Iterator[str]]

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        security.restricted,
        security.no_credentials,
        security.writable,
        security.read_only,
        security.fenced,
        resources.quantities,
        resources.bounded,
        resources.shared_memory,
        resources.unseen,
        resources.scratch,
        resources.claims,
        wiring.images,
        wiring.names,
        wiring.labels,
        wiring.selectors,
        wiring.ports,
        wiring.volumes,
        wiring.variables,
        wiring.explained,
        jobs.restarts,
        jobs.failures,
        jobs.retries,
        jobs.deadlines,
        jobs.indexes,
        nodes.rendezvous,
        nodes.open_inside,
        nodes.trainer,
        nodes.order,
    )
}
