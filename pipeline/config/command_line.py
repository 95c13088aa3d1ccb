"""The configuration that a command line asks for: its flags and ``--set KEY=VALUE`` over a recipe."""

from pathlib import Path
from typing import Any

from data_prep.system.errors import UsageError
from pipeline.config.finetune import finetune_config
from pipeline.config.recipes import find_recipe, load_recipe
from pipeline.config.resolve import flatten, merge, resolve
from pipeline.config.schema import Config
from pipeline.yaml_text import parse_value


def read_config(
    recipe: str | None, flags: dict[str, Any], settings: tuple[str, ...] = (), finetune: Path | None = None
) -> Config:
    """Return the configuration of a command line.

    Args:
        recipe: name or file of the recipe; None for the one that fits data set and method.
        flags: values of the command's options by key, nested; None where an option was left out.
        settings: ``KEY=VALUE`` of each ``--set``.
        finetune: folder of the run to fine-tune, in place of a recipe.

    Raises:
        UsageError: a key is unknown, a value is wrong, or options contradict each other.
    """
    tree = _replace_budget(command_line(flags, settings))
    if finetune:
        return finetune_config(finetune, recipe, tree)
    name = recipe or find_recipe(tree.get("dataset"), tree.get("method"))
    return resolve(load_recipe(name), tree, f"recipe {name}")


def command_line(flags: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of the command line in the form of a recipe; ``--set`` overrides flags."""
    tree: dict[str, Any] = {}
    for path, value in flatten(flags).items():
        if value is not None and value != {}:
            tree = merge(tree, _nest(path, value))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected KEY=VALUE, such as optimizer.lr=0.03")
        tree = merge(tree, _nest(key, parse_value(text)))
    return tree


def _replace_budget(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the options; if they set the steps, they also switch off a recipe's time budget.

    Raises:
        UsageError: the options set both.
    """
    if "steps" not in tree:
        return tree
    if tree.get("budget_minutes") is not None:
        raise UsageError("--steps and --budget-minutes: a budget determines the number of steps; leave one of them out")
    return tree | {"budget_minutes": None}


def _nest(path: str, value: Any) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for the path ``a.b``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)
