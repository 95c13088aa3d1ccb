"""What ``--json`` names: a file for the result of a command, or ``-`` for the terminal."""

import json
import math
from pathlib import Path
from typing import Any

import click

from data_prep.system.atomic_files import make_folder, write_durably


class JsonFile(click.ParamType[Path]):
    """The type of ``--json FILE|-``; refused before the work begins if it cannot become a file."""

    name = "FILE|-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read the path. Raises click's BadParameter."""
        path = Path(value)
        if path.exists() and not path.is_file():
            self.fail(f"{path} is no file; name one, or - to print it", param, ctx)
        return path


def printed(target: Path | None) -> bool:
    """Return whether the JSON is to be printed, in place of what people read."""
    return target == Path("-")


def give_json(target: Path | None, tree: Any) -> None:
    """Print the tree or write it to its file; numbers that are not finite become null. Raises DataError."""
    if target is None:
        return
    text = json.dumps(_finite(tree), indent=2, allow_nan=False)
    if printed(target):
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
