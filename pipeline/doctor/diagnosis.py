"""All checks of ``smpl doctor`` in their order, and a summary of their results."""

from collections.abc import Sequence

from pipeline.doctor import data_set, folders, images, machine, network, subprocess_checks
from pipeline.doctor.check import Check, CheckResult, Level

CHECKS: tuple[Check, ...] = (
    *(machine.python, machine.cpus, machine.memory, machine.shared_memory, machine.open_files),
    *folders.CHECKS,
    *(data_set.data_set, network.host_name, network.nodes, images.image_formats),
    *(subprocess_checks.libraries, subprocess_checks.two_processes, subprocess_checks.training),
)
"""All checks, in the order in which they run and are shown."""


def healthy(results: Sequence[CheckResult]) -> bool:
    """Return whether runs will work: no check failed."""
    return all(result.level is not Level.FAILURE for result in results)


def summary(results: Sequence[CheckResult]) -> str:
    """Return the last line of the table: the numbers of failures and warnings, and what they mean for a run."""
    counts = {level: sum(result.level == level for result in results) for level in (Level.FAILURE, Level.WARNING)}
    numbers = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())
    return f"{numbers}: {'runs will work here' if healthy(results) else 'runs will fail here'}"
