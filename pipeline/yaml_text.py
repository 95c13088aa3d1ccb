"""Read and write YAML, with 1e-3 as a number: recipes, configurations in run folders, and values of ``--set``."""

import re
from pathlib import Path
from typing import Any

import yaml

from data_prep.system.errors import UsageError


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number, as YAML 1.2 does; PyYAML implements 1.1, where it is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"), list("-+0123456789.")
)


def read_mapping(path: Path, name: str) -> dict[str, Any]:
    """Return the mapping in a file. Raises UsageError, which begins with ``name``, if it cannot be read."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    return parse_mapping(text, name)


def parse_mapping(text: str, name: str) -> dict[str, Any]:
    """Return the mapping that ``text`` holds. Raises UsageError, which begins with ``name``, for anything else."""
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UsageError(f"{name}: expected a mapping of keys to values")
    return tree


def parse_value(text: str) -> Any:
    """Return one value of the command line as a recipe would give it. Raises UsageError."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError:
        raise UsageError(f"--set: not a value: {text!r}") from None


def write_value(value: Any) -> str:
    """Return one value as ``--set`` takes it, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1_000_000).partition("\n")[0]


def write_mapping(tree: dict[str, Any]) -> bytes:
    """Return a mapping as YAML, with its keys in their order."""
    return yaml.safe_dump(tree, sort_keys=False).encode()
