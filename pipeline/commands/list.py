"""The commands ``smpl list ...``: what this installation offers."""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from data_prep.system.cli import CommandGroup
from pipeline.commands.json_output import JsonFile, prints_json, write_json
from pipeline.config.about import About, Measured
from pipeline.config.completion import complete_recipe
from pipeline.config.recipes import built_in, read_about
from pipeline.registry import Registry

WIDTH, INDENT = 110, 12
"""Columns of the text about one recipe, and of the names in front of it."""


@click.group(cls=CommandGroup)
def main() -> None:
    """List what is built in."""


@main.command(context_settings={"max_content_width": 110})
@click.argument("name", required=False, shell_complete=complete_recipe)
@click.option("--json", "target", type=JsonFile(), help="Write the facts as JSON; - prints them instead of the text.")
def recipes(name: str | None, target: Path | None) -> None:
    """List all recipes, or print everything about NAME: a built-in recipe, or a YAML file with the key about.

    A deviation is a difference between the recipe and the source of its expected accuracy.
    """
    found = {each: read_about(each) for each in ([name] if name else built_in())}
    if not prints_json(target):
        click.echo("\n".join(_facts(name, found[name]) if name else _table(found)))
    trees = [{"name": each, **about.model_dump()} for each, about in found.items()]
    write_json(target, trees[0] if name else trees)


@main.command()
def methods() -> None:
    """List the training methods, with their sources."""
    from pipeline.methods import METHODS

    click.echo("\n".join(_described(METHODS)))


@main.command()
def models() -> None:
    """List the networks."""
    from pipeline.models import MODELS

    click.echo("\n".join(_described(MODELS)))


@main.command()
def datasets() -> None:
    """List the data sets, with the default numbers of labeled and validation images and where the files come from."""
    from data_prep.sources import SOURCES

    rows = [("data set", "classes", "labels", "validation", "files")]
    for source in SOURCES.values():
        files = "--source" if not source.downloads else "downloaded, or --source" if source.files else "embedded"
        rows.append((source.name, str(len(source.classes) or "any"), str(source.labels), str(source.val), files))
    click.echo("\n".join(_columns(rows)))


def _described(registry: Registry) -> Iterator[str]:
    """Yield a line for each name, with the first line of the module that defines it."""
    rows = []
    for name in registry.names():
        module = sys.modules[registry.load(name).__module__]
        rows.append((name, (module.__doc__ or "").partition("\n")[0]))
    return _columns(rows)


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows as lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _table(recipes: Mapping[str, About]) -> Iterator[str]:
    """Yield a line for each recipe, below the titles of the columns."""
    rows = [("recipe", "expected %", "measured %", "deviations", "source")]
    for name, about in recipes.items():
        expected = f"{about.expected.accuracy:.2f}" if about.expected else "none"
        rows.append((name, expected, _mean(about.measured), str(len(about.deviations)), about.source))
    yield from _columns(rows)


def _facts(name: str, about: About) -> Iterator[str]:
    """Yield the lines about one recipe."""
    expected, measured = about.expected, about.measured
    yield from _paragraph("recipe", name)
    for title in ("title", "source", "settings", "hardware"):
        yield from _paragraph(title, getattr(about, title))
    yield from _paragraph("hours", "unknown" if about.hours is None else f"{about.hours:g}")
    yield from _paragraph("expected", f"{expected.accuracy:.2f} %: {expected.source}" if expected else "none published")
    how = f" %, {measured.seeds} seeds: {measured.command}" if measured else ""
    yield from _paragraph("measured", _mean(measured) + how)
    yield from _paragraph("command", about.command)
    yield from _paragraph("deviations", "from the source of the expected accuracy:" if about.deviations else "none")
    for number, sentence in enumerate(about.deviations, 1):
        yield from _paragraph(f"{number:>{INDENT - 2}}", sentence)


def _mean(measured: Measured | None) -> str:
    return f"{measured.accuracy:.2f} ± {measured.spread:.2f}" if measured else "no"


def _paragraph(title: str, text: str) -> list[str]:
    """Return the lines of ``text`` beside its title; words are not broken, so that a command can be copied."""
    indent = " " * INDENT
    lines = textwrap.wrap(text, WIDTH - INDENT, break_long_words=False, break_on_hyphens=False)
    return [f"{title:<{INDENT}}{lines[0]}", *(f"{indent}{line}" for line in lines[1:])]
