"""Checks of how Jobs run, fail and end."""

from collections.abc import Iterator

from data_prep.system.cli import STOPPED, USAGE
from data_prep.system.errors import DataError, UsageError
from pipeline.distributed.launcher import SHUTDOWN_SECONDS
from tests.k8s.objects import INDEX, Object, Workload, workloads
from tests.k8s.resources import GPU

WRONG = UsageError.exit_code
BAD_DATA = DataError.exit_code
SAVING_SECONDS = 15
"""From the agent's end to the container's."""
DAY = 86_400


def restarts(objects: list[Object]) -> Iterator[str]:
    """Pods of Jobs are replaced, never restarted in place: only then are exit codes read. Others always restart."""
    for work in workloads(objects):
        wanted = {"Job": "Never", "Deployment": "Always"}[work.kind]
        if (found := work.pod.get("restartPolicy", "Always")) != wanted:
            yield f"{work.name}: restartPolicy {found}, not {wanted}"


def failures(objects: list[Object]) -> Iterator[str]:
    """Disruptions and stopped runs do not count, wrong usage ends the Job, bad data ends the Job or the index."""
    if USAGE != WRONG:
        yield "the commands disagree about exit codes"
    for work in _jobs(objects):
        rules = work.spec.get("podFailurePolicy", {}).get("rules", [])
        yield from (f"{work.name}: {problem}" for problem in _misruled(work, rules))
        known = {part["name"] for part in work.containers}
        named = {rule.get("onExitCodes", {}).get("containerName") for rule in rules} - {None}
        yield from (f"{work.name}: podFailurePolicy: no container {name}" for name in sorted(named - known))
        if work.spec.get("podReplacementPolicy") != "Failed":
            yield f"{work.name}: podReplacementPolicy is not Failed: two pods would write one run"


def _misruled(work: Workload, rules: list[Object]) -> Iterator[str]:
    """Yield the problems of the rules; a stopped pod has an exit code too, and the first rule that matches counts."""
    if not any(rule["action"] == "Ignore" and _is_disruption(rule) for rule in rules[:1]):
        yield "the first rule does not ignore disruptions"
    done = _actions(rules)
    fatal = {"FailJob", "FailIndex"} if "backoffLimitPerIndex" in work.spec else {"FailJob"}
    for code, wanted in {STOPPED: {"Ignore"}, WRONG: {"FailJob"}, BAD_DATA: fatal}.items():
        if done.get(code) not in wanted:
            yield f"exit code {code} is met by {done.get(code)}, not by {' or '.join(sorted(wanted))}"
    yield from (f"exit code {code} means nothing" for code in done.keys() - {STOPPED, WRONG, BAD_DATA})


def _actions(rules: list[Object]) -> dict[int, str]:
    """Return the action for each exit code, from the first rule that names it."""
    codes: dict[int, str] = {}
    for rule in rules:
        exits = rule.get("onExitCodes", {})
        for code in exits.get("values", []) if exits.get("operator") == "In" else []:
            codes.setdefault(code, rule["action"])
    return codes


def _is_disruption(rule: Object) -> bool:
    return {"type": "DisruptionTarget", "status": "True"} in rule.get("onPodConditions", [])


def retries(objects: list[Object]) -> Iterator[str]:
    """A Job or each index is tried again a bounded number of times; a Job of several nodes never by index."""
    for work in _jobs(objects):
        one, each = work.spec.get("backoffLimit"), work.spec.get("backoffLimitPerIndex")
        if (one is None) == (each is None):
            yield f"{work.name}: exactly one of backoffLimit and backoffLimitPerIndex belongs there"
        if not 0 < (one or each or 0) <= 100:
            yield f"{work.name}: backoffLimit {one or each}"
        if each is not None and not 0 <= work.spec.get("maxFailedIndexes", -1) < work.spec["completions"]:
            yield f"{work.name}: maxFailedIndexes {work.spec.get('maxFailedIndexes')} of {work.spec['completions']}"
        if work.value("PET_NNODES") and (one or 0) < 12 * work.spec["completions"]:
            yield f"{work.name}: backoffLimit {one} is soon used up: a lost node fails the others as well"


def deadlines(objects: list[Object]) -> Iterator[str]:
    """A pod outlives the launcher's own deadline; a finished Job is kept for at least a day and then removed."""
    for work in workloads(objects):
        grace = work.pod.get("terminationGracePeriodSeconds", 30)
        if work.kind == "Job" and grace < SHUTDOWN_SECONDS + SAVING_SECONDS:
            yield f"{work.name}: terminationGracePeriodSeconds {grace}, but ranks are killed after {SHUTDOWN_SECONDS}"
    for work in _jobs(objects):
        outer = _outer(work)
        if (outer.get("ttlSecondsAfterFinished") or 0) < DAY:
            yield f"{work.name}: ttlSecondsAfterFinished {outer.get('ttlSecondsAfterFinished')} is too short for logs"
        if outer is not work.spec and "ttlSecondsAfterFinished" in work.spec:
            yield f"{work.name}: its own ttlSecondsAfterFinished would make the JobSet start it again"
        if GPU in work.main["resources"]["limits"] and "activeDeadlineSeconds" in work.spec:
            yield f"{work.name}: activeDeadlineSeconds would fail a long run that has no problem"


def _outer(work: Workload) -> Object:
    """Return the spec whose time to live counts: that of the Job, or of the JobSet that it is part of."""
    if work.owner["kind"] == "TrainingRuntime":
        return dict(work.owner["spec"]["template"]["spec"])
    return dict(work.owner["spec"]) if work.owner["kind"] == "JobSet" else work.spec


def indexes(objects: list[Object]) -> Iterator[str]:
    """Only Indexed Jobs read an index, and they have as many indexes as --shard-range says."""
    for work in _jobs(objects):
        for part in work.containers:
            reads = any(variable.get("valueFrom") == INDEX for variable in work.env(part).values())
            shares = part["args"][part["args"].index("--shard-range") + 1] if "--shard-range" in part["args"] else None
            if (reads or shares) and work.spec.get("completionMode") != "Indexed":
                yield f"{work.name}/{part['name']}: it has an index, but the Job is not Indexed"
            if shares not in {None, str(work.spec.get("completions"))}:
                yield f"{work.name}: --shard-range {shares}, but completions {work.spec.get('completions')}"
        if work.spec.get("parallelism", 1) > work.spec.get("completions", 1):
            yield f"{work.name}: parallelism {work.spec['parallelism']} of {work.spec.get('completions', 1)}"


def _jobs(objects: list[Object]) -> list[Workload]:
    return [work for work in workloads(objects) if work.kind == "Job"]
