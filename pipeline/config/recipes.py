"""Recipes: complete settings for a method on a data set, one YAML file each, with what they reach and cost."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import UsageError
from pipeline.registry import nearest
from pipeline.run_folder import CONFIG

DEFAULT = "digits-smpl"


class _Loader(yaml.SafeLoader):
    """YAML with floats as everybody writes them: 1e-3 is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"), list("-+0123456789.")
)


def built_in() -> dict[str, str]:
    """Return the text of every built-in recipe by name."""
    return {
        entry.name.removesuffix(".yaml"): entry.read_text()
        for entry in sorted(files("pipeline.recipes").iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def save_recipe(tree: Mapping[str, Any], folder: Path) -> None:
    """Write a resolved configuration to a run folder, durably. Raises DataError."""
    write_durably(folder / CONFIG, yaml.safe_dump(dict(tree), sort_keys=False).encode())


def load_recipe(name: str) -> dict[str, Any]:
    """Read a built-in recipe by name, or a YAML file by path."""
    recipes = built_in()
    if name in recipes:
        return parse_yaml(recipes[name], name)
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        raise UsageError(f"recipe {name}: no such recipe or YAML file; {nearest(name, recipes)}")
    try:
        return parse_yaml(path.read_text(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {name}: {getattr(error, 'strerror', None) or 'not a text file'}") from None


def find_recipe(dataset: object, method: object) -> str:
    """Return the name of the built-in recipe for a data set and a method, or else of its recipe for SMPL, or any.

    One with a budget is not among them: how long a run may take is for its user to say.
    """
    if dataset is None:
        dataset = parse_yaml(built_in()[DEFAULT], DEFAULT)["dataset"]
    if not isinstance(dataset, str):
        raise UsageError(f"dataset: should be a name, not {dataset!r}")
    trees = {name: parse_yaml(text, name) for name, text in built_in().items()}
    trees = {name: tree for name, tree in trees.items() if "budget_minutes" not in tree}
    candidates = [name for name, tree in trees.items() if tree["dataset"] == dataset]
    if not candidates:
        datasets = sorted({tree["dataset"] for tree in trees.values()})
        raise UsageError(f"no recipe for data set {dataset!r}: {nearest(dataset, datasets)}; or give --recipe FILE")
    of_method = {trees[name]["method"]: name for name in reversed(candidates)}
    return of_method.get(method) or of_method.get("smpl") or candidates[0]


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError as error:
        raise UsageError(f"recipe {name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UsageError(f"recipe {name}: expected a mapping of keys to values")
    return tree


def parse_value(text: str) -> Any:
    """Read one value of the command line as a recipe would."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError:
        raise UsageError(f"--set: not a value: {text!r}") from None
