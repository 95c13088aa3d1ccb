"""Registries of methods and models: built-in classes by path, classes of other packages by entry point."""

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from data_prep.system.errors import UsageError


class Registry:
    """A table of names; a class is imported when it is first used, so training SMPL never imports MetaSemi.

    Args:
        kind: what the error lines call a name, such as ``"method"``.
        group: entry-point group in which installed packages add their own, such as ``"smpl.methods"``.
        built_in: ``"module:attribute"`` by name.
    """

    def __init__(self, kind: str, group: str, built_in: Mapping[str, str]) -> None:
        self.kind, self.group, self.built_in = kind, group, built_in

    def names(self) -> list[str]:
        """Return all names, built-in and installed, in alphabetical order."""
        return sorted({*self.built_in, *(point.name for point in entry_points(group=self.group))})

    def load(self, name: object) -> Any:
        """Import and return the class called ``name``. Raises UsageError, which suggests the closest known name."""
        if not isinstance(name, str):
            raise UsageError(f"{self.kind}: should be a name, not {name!r}; choose from {', '.join(self.names())}")
        if path := self.built_in.get(name):
            module, attribute = path.split(":")
            return getattr(import_module(module), attribute)
        for point in entry_points(group=self.group, name=name):
            return point.load()
        raise UsageError(f"unknown {self.kind} {name!r}: {nearest(name, self.names())}")


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Return the end of an error line: the closest known name, or all of them if none is close."""
    known = list(known)
    close = difflib.get_close_matches(wrong, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"
