"""The option ``--json``: a file for the result of a command, or ``-`` for standard output."""

import json
import math
from pathlib import Path
from typing import Any

import click

from data_prep.system.atomic_files import make_folder, write_durably


class JsonFile(click.ParamType[Path]):
    """The type of ``--json FILE|-``. It refuses what cannot become a file before the work begins."""

    name = "FILE|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path. Raises click's BadParameter."""
        path = Path(value)
        if path.exists() and not path.is_file():
            self.fail(f"{path} is not a file; name one, or - to print it", param, ctx)
        return path


def prints_json(target: Path | None) -> bool:
    """Return whether JSON is printed instead of text."""
    return target == Path("-")


def write_json(target: Path | None, tree: Any) -> None:
    """Print the tree or write it to its file, if there is one; NaN and infinities become null. Raises DataError."""
    if target is None:
        return
    text = json.dumps(_finite(tree), indent=2, allow_nan=False)
    if prints_json(target):
        click.echo(text)
    else:
        make_folder(target.parent)
        write_durably(target, f"{text}\n".encode())


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
