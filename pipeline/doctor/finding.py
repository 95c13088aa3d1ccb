"""What a check has found, and how checks are made so that none keeps the others from being made."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Good to know; nothing is wrong."""
    WARNING = "warning"
    """Some runs fail, or are slow."""
    FAILURE = "failure"
    """Runs fail."""


@dataclass(frozen=True)
class Finding:
    """One line of what was found, and another of what to do about it."""

    name: str
    level: Level
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Request:
    """What the user asks about."""

    data_dir: Path | None = None
    out: Path | None = None


Check = Callable[[Request], Iterable[Finding]]


def examine(checks: Iterable[Check], request: Request) -> Iterator[Finding]:
    """Make every check and yield what it finds; one that breaks is a failure by itself."""
    for check in checks:
        try:
            yield from check(request)
        except Exception as error:  # whatever it is, the user is to read of it
            name = getattr(check, "__name__", "check").replace("_", " ")
            yield Finding(name, Level.FAILURE, one_line(error), "the check itself broke; so may a run")


def read_finding(line: str) -> Finding:
    """Return the finding that another process told in a line of JSON."""
    told = json.loads(line)
    return Finding(told["name"], Level(told["level"]), told["found"], told["remedy"])


def one_line(error: BaseException) -> str:
    """Return an error as a line: its type, and the beginning of its text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
