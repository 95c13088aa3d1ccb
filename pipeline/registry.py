"""Names to classes: built-in ones by path, other people's through an entry-point group."""

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from data_prep.system.errors import UsageError


class Registry:
    """A table of names, loaded on first use so that a command that trains SMPL never imports MetaSemi.

    Args:
        kind: what the names stand for, for messages: ``"method"``.
        group: entry-point group in which installed packages add their own: ``"smpl.methods"``.
        built_in: name to ``"module:attribute"``.
    """

    def __init__(self, kind: str, group: str, built_in: Mapping[str, str]) -> None:
        self.kind, self.group, self.built_in = kind, group, built_in

    def names(self) -> list[str]:
        return sorted({*self.built_in, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: object) -> Any:
        """Return what ``name`` stands for; raises UsageError with the nearest right name."""
        if not isinstance(name, str):
            raise UsageError(f"{self.kind}: should be a name, not {name!r}; choose from {', '.join(self.names())}")
        if path := self.built_in.get(name):
            module, attribute = path.split(":")
            return getattr(import_module(module), attribute)
        for point in entry_points(group=self.group, name=name):
            return point.load()
        raise UsageError(f"unknown {self.kind} {name!r}: {nearest(name, self.names())}")


def nearest(wrong: str, right: Iterable[str]) -> str:
    """Return the end of an error line: the closest right name, or all of them."""
    right = list(right)
    close = difflib.get_close_matches(wrong, right, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(right)}"
