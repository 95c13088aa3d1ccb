"""From flags and `--set KEY=VALUE` to a configuration."""

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
    """Put the command line over a recipe, or over the fine-tuning of a run, over the defaults. Raises UsageError."""
    tree = _one_length(command_line(flags, settings))
    if finetune:
        return finetune_config(finetune, recipe, tree)
    name = recipe or find_recipe(tree.get("dataset"), tree.get("method"))
    return resolve(load_recipe(name), tree, f"recipe {name}")


def command_line(flags: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """Return flags that were given, and ``--set KEY=VALUE`` over them, as the tree that a recipe would be."""
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


def _one_length(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the command line's tree; its steps take the place of a recipe's budget. Raises UsageError for both."""
    if "steps" not in tree:
        return tree
    if tree.get("budget_minutes") is not None:
        raise UsageError("--steps and --budget-minutes: a budget says how many steps there are; leave one of them out")
    return tree | {"budget_minutes": None}


def _nest(path: str, value: Any) -> dict[str, Any]:
    """Return ``{"a": {"b": value}}`` for the path ``a.b``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)
