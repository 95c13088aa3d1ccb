"""Which version of the project runs: its release, its commit, and the versions of Python and torch."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

import click


def commit() -> str | None:
    """Return the commit of the source tree, with ``+`` if files differ from it; None without git."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"]
    with suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip() or None
    return None


def version_line() -> str:
    """Return the versions as one line. Nothing slow is imported."""
    parts = [f"smpl-pipeline {_installed('smpl-pipeline')}"]
    if found := commit():
        parts.append(f"commit {found}")
    return ", ".join([*parts, f"Python {platform.python_version()}", _torch()])


def print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the versions and end the command: the callback of ``--version``."""
    if wanted and not context.resilient_parsing:
        click.echo(version_line())
        context.exit()


VERSION = click.Option(
    ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=print_version, help="Print the versions."
)


def _torch() -> str:
    """Return the version of torch and the CUDA that it was built for, from its file ``version.py`` alone."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "torch not installed"
    facts = run_path(str(Path(spec.origin).with_name("version.py")))
    return f"torch {facts['__version__']} ({f'CUDA {cuda}' if (cuda := facts.get('cuda')) else 'without CUDA'})"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
