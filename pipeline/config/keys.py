"""Every configuration key with its type, default and meaning, collected from the options that declare them."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config.schema import Config, NetworkOptions
from pipeline.methods import METHODS
from pipeline.models import MODELS

SPECIAL = ("sections", "model", "networks")
"""Keys of the configuration whose own keys depend on the method or the model."""


class Key(NamedTuple):
    """A configuration key."""

    name: str
    """The name as ``--set`` takes it, such as ``optimizer.lr``."""
    values: str
    """The type of its values, or all of them."""
    default: Any
    meaning: str
    reader: str
    """Who reads it: ``every run``, or methods or models by name."""


def all_keys() -> list[Key]:
    """Return all keys of the core configuration, of every method and of every model; this imports all of them."""
    keys = [key for key in _walk(Config, "", "every run") if key.name.partition(".")[0] not in SPECIAL]
    keys += _walk(NetworkOptions, "networks.NAME.", "methods with several networks")
    readers: dict[tuple[str, type[BaseModel]], list[str]] = {}
    for method in METHODS.names():
        for section, options in METHODS.load(method).sections.items():
            readers.setdefault((section, options), []).append(method)
    for (section, options), methods in readers.items():
        keys += _walk(options, f"{section}.", ", ".join(methods))
    keys.append(Key("model.name", "|".join(MODELS.names()), "wide_resnet", "the network", "every run"))
    for model in MODELS.names():
        keys += _walk(MODELS.load(model).Options, "model.", f"model {model}")
    return keys


def _walk(options: type[BaseModel], prefix: str, reader: str) -> Iterator[Key]:
    for name, field in options.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _walk(inner, f"{prefix}{name}.", reader)
        else:
            values = _values(field.annotation)
            yield Key(f"{prefix}{name}", values, _default(field), field.description or "", reader)


def _default(field: FieldInfo) -> Any:
    return None if field.default is PydanticUndefined else field.default


def _values(annotation: Any) -> str:
    """Return a type as a user writes its values: ``a|b`` for a choice, ``integer or null`` for an optional one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0])
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in {Union, types.UnionType}:
        return " or ".join(_values(argument) for argument in arguments)
    names = {int: "integer", float: "number", bool: "true|false", str: "text", type(None): "null"}
    return names.get(origin or annotation, "list" if origin is list else "mapping")
