"""Recipes: the complete settings of a method on a data set, one YAML file each, found by name, path or data set.

The key ``about`` of a recipe holds facts for people. It is not part of the settings; :func:`read_about` reads it.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from data_prep.system.errors import UsageError
from pipeline.config.about import About, parse_about
from pipeline.registry import nearest
from pipeline.yaml_text import parse_mapping, read_mapping

DEFAULT = "digits-smpl"
"""The recipe of a command line without options."""


def built_in() -> dict[str, str]:
    """Return the text of every built-in recipe by name."""
    return {
        entry.name.removesuffix(".yaml"): entry.read_text("utf-8")
        for entry in sorted(files("pipeline.recipes").iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def load_recipe(name: str) -> dict[str, Any]:
    """Return the settings of a built-in recipe by name, or of a YAML file by path. Raises UsageError."""
    return {key: value for key, value in _read(name).items() if key != "about"}


def read_about(name: str) -> About:
    """Return what a recipe says about itself. Raises UsageError if it does not exist or leaves a fact out."""
    tree = _read(name)
    if "about" not in tree:
        raise UsageError(f"recipe {name}: it says nothing about itself; built-in recipes do so under the key 'about'")
    return parse_about(tree["about"], name)


def _read(name: str) -> dict[str, Any]:
    recipes = built_in()
    if name in recipes:
        return parse_mapping(recipes[name], f"recipe {name}")
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        raise UsageError(f"recipe {name}: no such recipe or YAML file; {nearest(name, recipes)}")
    return read_mapping(path, f"recipe {name}")


def find_recipe(dataset: object, method: object) -> str:
    """Return the name of the built-in recipe that fits a data set and a method best.

    The first choice is the data set's recipe for the method, the second its recipe for SMPL, the third its first recipe
    in alphabetical order. Recipes with a time budget are found by name only: the user decides how long a run may take.

    Args:
        dataset: name of the data set; None for that of the default recipe.
        method: name of the method; None for no preference.

    Raises:
        UsageError: there is no recipe for this data set.
    """
    if dataset is None:
        dataset = load_recipe(DEFAULT)["dataset"]
    if not isinstance(dataset, str):
        raise UsageError(f"dataset: should be a name, not {dataset!r}")
    trees = {name: load_recipe(name) for name in built_in()}
    trees = {name: tree for name, tree in trees.items() if "budget_minutes" not in tree}
    candidates = [name for name, tree in trees.items() if tree["dataset"] == dataset]
    if not candidates:
        datasets = sorted({tree["dataset"] for tree in trees.values()})
        raise UsageError(f"no recipe for data set {dataset!r}: {nearest(dataset, datasets)}; or give --recipe FILE")
    of_method = {trees[name]["method"]: name for name in reversed(candidates)}
    return of_method.get(method) or of_method.get("smpl") or candidates[0]
