"""Values that a shell completes on the command line: names of recipes, data sets and methods. No module needs torch."""

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def complete_recipe(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the built-in recipes whose names begin so; if there are none, let the shell complete a file."""
    from pipeline.config.recipes import built_in  # noqa: PLC0415  only a shell that completes needs it

    return _matching(built_in(), begun) or [CompletionItem(begun, type="file")]


def complete_dataset(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the data sets whose names begin so."""
    from data_prep.sources import SOURCES  # noqa: PLC0415  only a shell that completes needs it

    return _matching(SOURCES, begun)


def complete_method(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the methods whose names begin so, with those of installed packages."""
    from pipeline.methods import METHODS  # noqa: PLC0415  only a shell that completes needs it

    return _matching(METHODS.names(), begun)


def _matching(names: Iterable[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(begun)]
