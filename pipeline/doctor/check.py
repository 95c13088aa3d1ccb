"""The result of a check, and the loop that runs all checks even if one of them raises an error."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """How serious a result is."""

    OK = "ok"
    NOTE = "note"
    """Good to know; nothing is wrong."""
    WARNING = "warning"
    """Some runs fail, or are slow."""
    FAILURE = "failure"
    """Runs fail."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found, and what to do about it."""

    name: str
    """What was checked, such as ``shared memory``."""
    level: Level
    found: str
    """What was found, in one line."""
    remedy: str = ""
    """What to do about it, in one line; empty if there is nothing to do."""

    def text(self) -> str:
        """Return the result as a line of the table, with the remedy in a line below it."""
        line = f"{self.level:<9}{self.name:<24} {self.found}"
        return f"{line}\n{'':<34}-> {self.remedy}" if self.remedy else line


@dataclass(frozen=True)
class CheckOptions:
    """The folders that the user asks about."""

    data_dir: Path | None = None
    """The prepared data set to train on."""
    out: Path | None = None
    """The run folder to write to."""


Check = Callable[[CheckOptions], Iterable[CheckResult]]


def run_checks(checks: Iterable[Check], options: CheckOptions) -> Iterator[CheckResult]:
    """Run every check and yield its results. If a check raises an error, the error is its result, a failure."""
    for check in checks:
        try:
            yield from check(options)
        except Exception as error:  # whatever it is, it is a result for the user
            name = getattr(check, "__name__", "check").replace("_", " ")
            yield CheckResult(name, Level.FAILURE, one_line(error), "the check itself broke, so a run may break too")


def parse_result(line: str) -> CheckResult:
    """Return the result that another process printed as a line of JSON."""
    fields = json.loads(line)
    return CheckResult(fields["name"], Level(fields["level"]), fields["found"], fields["remedy"])


def one_line(error: BaseException) -> str:
    """Return the type of an error and the first 300 characters of its text, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
