"""One configuration from three layers: defaults, a recipe and the command line; a later layer overrides the earlier.

An unknown key or a value of the wrong type is refused in one line, which says where it is set and suggests the closest
known key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from data_prep.system.errors import UsageError
from pipeline.config.schema import Config, NetworkOptions
from pipeline.data.augment.options import drop_options_of_another_pool
from pipeline.methods import METHODS
from pipeline.models import MODELS
from pipeline.models.architectures import library_of
from pipeline.registry import nearest

Tree = Mapping[str, Any]
T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Layers:
    """A recipe and a command line, kept apart so that an error line can say which of the two set a key."""

    recipe: Tree
    flags: Tree
    recipe_name: str

    def source(self, path: tuple[Any, ...]) -> str:
        """Return the name of the layer that sets the key at ``path``."""
        node: Any = self.flags
        for key in path:
            if not isinstance(node, Mapping) or key not in node:
                return self.recipe_name
            node = node[key]
        return "command line"

    def error(self, path: tuple[Any, ...], problem: str) -> UsageError:
        """Return the error line for the key at ``path``."""
        return UsageError(": ".join([self.source(path), *([".".join(map(str, path))] if path else []), problem]))


def resolve(recipe: Tree, flags: Tree, recipe_name: str = "recipe") -> Config:
    """Merge the layers over the defaults and check every key.

    Args:
        recipe: the settings of a recipe, or of a run folder.
        flags: the settings of the command line, which override the recipe's.
        recipe_name: what an error line calls the recipe.

    Raises:
        UsageError: for the first key that is unknown or has a wrong value.
    """
    layers = Layers(recipe, flags, recipe_name)
    tree = merge(_for_other_views(recipe, flags), flags)
    method = METHODS.load(tree.get("method", Config.model_fields["method"].default))
    core = {name: value for name, value in tree.items() if name in Config.model_fields and name != "sections"}
    kinds = _sections(METHODS.built_in) | dict(method.sections)
    if tree.keys() - core.keys() - kinds.keys():
        kinds = _sections(METHODS.names()) | kinds
    sections = {}
    for name in tree.keys() - core.keys():
        if name in flags and name in kinds and name not in method.sections:
            raise layers.error((name,), f"method {tree.get('method')} does not read it")
        if name not in kinds:
            raise layers.error((name,), f"unknown key; {_nearest_key(name, kinds)}")
        sections[name] = _validate(kinds[name], tree[name], (name,), layers).model_dump(mode="json")
    config = _validate(Config, _drop_other_networks(core, flags, method.networks_needed), (), layers)
    used = {name: sections.get(name) or kind().model_dump(mode="json") for name, kind in method.sections.items()}
    return config.model_copy(update={"sections": used, "model": _resolve_model(config.model, layers)})


def _for_other_views(recipe: Tree, flags: Tree) -> Tree:
    """Return the recipe without the options of its pool of augmentations if the flags name another pool."""
    old, new = recipe.get("augment"), flags.get("augment")
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return recipe
    return {**recipe, "augment": drop_options_of_another_pool(old, new)}


def merge(under: Tree, over: Tree) -> dict[str, Any]:
    """Return ``under`` with the values of ``over`` in place of its own; mappings are merged key by key.

    A mapping with another ``name`` replaces the whole one: the options of another network or optimizer do not fit.
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
    """Return whether ``new`` may be merged into ``old``: it has the same ``name``, or none."""
    return "name" not in old or "name" not in new or old["name"] == new["name"]


def _sections(methods: Iterable[str]) -> dict[str, type[BaseModel]]:
    """Return the option classes of several methods by section, since a recipe may have sections of other methods."""
    return {name: kind for method in methods for name, kind in METHODS.load(method).sections.items()}


def _drop_other_networks(tree: Tree, flags: Tree, needed: Iterable[str]) -> dict[str, Any]:
    """Return ``tree`` without a recipe's options of networks that only other methods have.

    Options of the command line stay, so that they are refused.
    """
    networks = tree.get("networks")
    if not isinstance(networks, Mapping):
        return dict(tree)
    others = {name for method in METHODS.built_in for name in METHODS.load(method).networks_needed} - {*needed}
    from_flags = flags.get("networks", {})
    kept = {name: options for name, options in networks.items() if name not in others or name in from_flags}
    return {**tree, "networks": kept}


def _resolve_model(model: Tree, layers: Layers) -> dict[str, Any]:
    options = {name: value for name, value in model.items() if name != "name"}
    name = model.get("name", Config.model_fields["model"].default["name"])
    if isinstance(name, str) and name not in MODELS.names() and (library := library_of(name)):
        remedy = f"set model.name={library} and model.architecture={name}"
        raise layers.error(("model", "name"), f"{name} is an architecture of {library}; {remedy}")
    return {"name": name} | _validate(MODELS.load(name).Options, options, ("model",), layers).model_dump(mode="json")


def _validate(kind: type[T], value: Any, path: tuple[Any, ...], layers: Layers) -> T:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = (*path, *first["loc"])
        if first["type"] == "extra_forbidden":
            name, top = str(where[-1]), len(where) > 1 and where[-1] in Config.model_fields
            alone = f"the key is {name}, without {'.'.join(map(str, where[:-1]))}"
            hint = alone if top else nearest(name, _keys(kind, first["loc"]))
            raise layers.error(where, f"unknown key; {hint}") from None
        shown = "" if first["type"] == "value_error" else f", not {first['input']!r}"
        raise layers.error(where, f"{_plain(first['msg'])}{shown}") from None


def _keys(kind: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Return the names of the keys that are allowed next to the one at ``path``."""
    for key in path[:-1]:
        inner = kind.model_fields[key].annotation if key in kind.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            kind = inner
        elif key == "networks":
            kind = NetworkOptions
    return [name for name in kind.model_fields if name != "sections"]


def _nearest_key(name: str, kinds: Mapping[str, type[BaseModel]]) -> str:
    """Return the end of the line on an unknown top-level key: where a key of this name is, or the nearest keys."""
    inner = {key: field.annotation for key, field in Config.model_fields.items()}
    sections = inner | {"model": MODELS.load(Config.model_fields["model"].default["name"]).Options} | dict(kinds)
    found = [
        f"{section}.{name}"
        for section, kind in sections.items()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name in kind.model_fields
    ]
    if found:
        return f"did you mean {' or '.join(found)}?"
    return nearest(name, [*_keys(Config, ("",)), *kinds])


def _plain(message: str) -> str:
    """Return Pydantic's message without its subject: ``Input should be a valid integer`` -> ``should be ...``."""
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
