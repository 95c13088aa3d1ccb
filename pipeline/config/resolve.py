"""Layers of configuration to one Config: defaults, a recipe, the command line; each beats the one before it.

A key nobody knows, or a value of the wrong type, is refused in one line that says where it stands and what was
probably meant.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from data_prep.system.errors import UsageError
from pipeline.config.schema import Config, NetworkOptions
from pipeline.methods import METHODS
from pipeline.models import MODELS
from pipeline.registry import nearest

Tree = Mapping[str, Any]
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Layers:
    """A recipe's tree and the command line's, and which of the two a key came from."""

    recipe: Tree
    flags: Tree
    recipe_name: str

    def source(self, path: tuple[Any, ...]) -> str:
        node: Any = self.flags
        for key in path:
            if not isinstance(node, Mapping) or key not in node:
                return self.recipe_name
            node = node[key]
        return "command line"

    def refuse(self, path: tuple[Any, ...], problem: str) -> UsageError:
        return UsageError(": ".join([self.source(path), *([".".join(map(str, path))] if path else []), problem]))


def resolve(recipe: Tree, flags: Tree, recipe_name: str = "recipe") -> Config:
    """Merge the layers and check every key; raises UsageError on the first that is wrong."""
    layers = Layers(recipe, flags, recipe_name)
    tree = merge(recipe, flags)
    method = METHODS.load(tree.get("method", Config.model_fields["method"].default))
    core = {name: value for name, value in tree.items() if name in Config.model_fields and name != "sections"}
    kinds = _sections(METHODS.built_in) | dict(method.sections)
    if tree.keys() - core.keys() - kinds.keys():
        kinds = _sections(METHODS.names()) | kinds
    sections = {}
    for name in tree.keys() - core.keys():
        if name in flags and name in kinds and name not in method.sections:
            raise layers.refuse((name,), f"method {tree.get('method')} does not read it")
        if name not in kinds:
            raise layers.refuse((name,), f"unknown key; {nearest(name, [*_keys(Config, ('',)), *kinds])}")
        sections[name] = _validate(kinds[name], tree[name], (name,), layers).model_dump(mode="json")
    config = _validate(Config, _own_networks(core, flags, method.networks_needed), (), layers)
    used = {name: sections.get(name) or kind().model_dump(mode="json") for name, kind in method.sections.items()}
    return config.model_copy(update={"sections": used, "model": _resolve_model(config.model, layers)})


def merge(under: Tree, over: Tree) -> dict[str, Any]:
    """Return ``under`` with the values of ``over`` put on top, mapping by mapping.

    A model of another name starts from its own defaults: another network's options would mean nothing to it.
    """
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and _extends(old, value):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _extends(old: Tree, new: Tree) -> bool:
    return "name" not in old or "name" not in new or old["name"] == new["name"]


def _sections(methods: Iterable[str]) -> dict[str, type[BaseModel]]:
    """Return the sections of ``methods``: a recipe may serve several, of which a run uses one."""
    return {name: kind for method in methods for name, kind in METHODS.load(method).sections.items()}


def _own_networks(tree: Tree, flags: Tree, needed: Iterable[str]) -> dict[str, Any]:
    """Return ``tree`` without a recipe's options of networks that only other methods have."""
    networks = tree.get("networks")
    if not isinstance(networks, Mapping):
        return dict(tree)
    elsewhere = {name for method in METHODS.built_in for name in METHODS.load(method).networks_needed} - {*needed}
    given = flags.get("networks", {})
    own = {name: options for name, options in networks.items() if name not in elsewhere or name in given}
    return {**tree, "networks": own}


def _resolve_model(model: Tree, layers: Layers) -> dict[str, Any]:
    options = {name: value for name, value in model.items() if name != "name"}
    name = model.get("name", Config.model_fields["model"].default["name"])
    return {"name": name} | _validate(MODELS.load(name).Options, options, ("model",), layers).model_dump(mode="json")


def _validate(kind: type[T], value: Any, path: tuple[Any, ...], layers: Layers) -> T:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = (*path, *first["loc"])
        if first["type"] == "extra_forbidden":
            raise layers.refuse(where, f"unknown key; {nearest(str(where[-1]), _keys(kind, first['loc']))}") from None
        given = "" if first["type"] == "value_error" else f", not {first['input']!r}"
        raise layers.refuse(where, f"{_plain(first['msg'])}{given}") from None


def _keys(kind: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Names of the fields beside the one at ``path``."""
    for key in path[:-1]:
        inner = kind.model_fields[key].annotation if key in kind.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            kind = inner
        elif key == "networks":
            kind = NetworkOptions
    return [name for name in kind.model_fields if name != "sections"]


def _plain(message: str) -> str:
    """Pydantic's sentence without its frame: ``Input should be a valid integer`` -> ``should be a valid integer``."""
    return message.removeprefix("Value error, ").removeprefix("Input ")


def flatten(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """Return a tree's leaves by dotted path; an empty mapping is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
