"""The rows of a comparison: which methods, and what each has otherwise, from the words of a command line."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from data_prep.system.errors import UsageError
from pipeline.config.command_line import command_line
from pipeline.config.resolve import flatten
from pipeline.config.schema import Config
from pipeline.methods import METHODS

FLAGS = {"dataset": "--dataset", "method": "--methods", "steps": "--steps", "seed": "--seeds", "data.seed": "--seeds"}
"""What a table says of its rows by name or of all its runs, and the flag that says it."""


@dataclass(frozen=True)
class Variant:
    """A row of the table: a method and what it has otherwise."""

    name: str
    method: str
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name with what no folder can have in its own written otherwise; ``urllib.parse.unquote`` undoes it."""
        return self.name.replace("%", "%25").replace("/", "%2F")


def read_rows(methods: str, ablate_meta: bool, resolved: Callable[[Variant], Config]) -> list[Variant]:
    """Return the rows that ``--methods`` names; with ``ablate_meta``, each method's own after it without its meta term.

    A row is ``METHOD[:KEY=VALUE]...``; commas and colons within brackets belong to a value. A row that has no meta term
    as it stands, or whose ablation is a row already, gets none.

    Raises:
        UsageError: a row that cannot be read or resolved, that sets what a flag says, or two that are the same run.
    """
    rows = [(variant, resolved(variant)) for variant in map(_read_row, split_outside(methods, ","))]
    for (first, config), (second, other) in combinations(rows, 2):
        if first.name == second.name:
            raise UsageError(f"--methods: row {first.name!r} stands there twice")
        if config.tree() == other.tree():
            raise UsageError(f"--methods: rows {first.name!r} and {second.name!r} are the same run; leave one out")
    return list(_with_ablations(rows, resolved)) if ablate_meta else [variant for variant, _ in rows]


def refuse_fixed(settings: Iterable[str], where: str) -> None:
    """Raise UsageError if ``KEY=VALUE`` settings would make runs other than the table calls them."""
    for key in flatten(command_line({}, tuple(settings))):
        if key in FLAGS:
            raise UsageError(f"{where}: {key} is told by {FLAGS[key]} here; leave it out")


def split_outside(text: str, mark: str) -> list[str]:
    """Split at every ``mark`` that stands outside of brackets and braces."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == mark and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _read_row(text: str) -> Variant:
    method, *settings = split_outside(text, ":")
    refuse_fixed(settings, f"--methods: row {text!r}")
    return Variant(" ".join([method, *settings]), method, tuple(settings))


def _with_ablations(rows: Iterable[tuple[Variant, Config]], resolved: Callable[[Variant], Config]) -> Iterator[Variant]:
    known = [config.tree() for _, config in rows]
    for variant, _ in rows:
        yield variant
        key = METHODS.load(variant.method).meta_weight
        if key is None:
            continue
        without = Variant(f"{variant.name} {key}=0", variant.method, (*variant.settings, f"{key}=0.0"))
        tree = resolved(without).tree()
        if tree not in known:
            known.append(tree)
            yield without
