"""Read the variants of a comparison, which are methods with settings, from the option ``--methods``."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from data_prep.system.errors import UsageError
from pipeline.config.command_line import command_line
from pipeline.config.resolve import flatten
from pipeline.config.schema import Config
from pipeline.methods import METHODS

FLAGS = {"dataset": "--dataset", "method": "--methods", "steps": "--steps", "seed": "--seeds", "data.seed": "--seeds"}
"""Keys that a comparison sets itself, with the flags that give their values."""


@dataclass(frozen=True)
class MethodVariant:
    """A method with settings: a row of the table."""

    name: str
    """The name in the table: the method and its settings."""
    method: str
    settings: tuple[str, ...] = ()
    """Settings of the form ``KEY=VALUE``."""
    ablation: str | None = None
    """The name of the variant that is this one without its meta term; None if the comparison has none."""

    @property
    def folder(self) -> str:
        """The name with ``%`` and ``/`` escaped, for use as a folder name; ``urllib.parse.unquote`` reverses that."""
        return self.name.replace("%", "%25").replace("/", "%2F")


Resolve = Callable[[MethodVariant], Config]
"""Returns the configuration of a variant's runs. Raises UsageError."""


def read_variants(methods: str, ablate_meta: bool, resolve: Resolve) -> list[MethodVariant]:
    """Return the variants that ``--methods`` names; with ``ablate_meta``, each is followed by its ablation.

    A variant is ``METHOD[:KEY=VALUE]...``, and commas separate variants; commas and colons within brackets belong to a
    value. The ablation of a variant is the same variant with the weight of its meta term set to 0. It may be a variant
    that is named already, and several variants that differ in their meta term alone share one.

    Raises:
        UsageError: a variant cannot be read or resolved, it sets the key of a flag, or two are the same run.
    """
    variants = [(variant, resolve(variant)) for variant in map(_read_variant, split_outside(methods, ","))]
    for (first, config), (second, other) in combinations(variants, 2):
        if first.name == second.name:
            raise UsageError(f"--methods: {first.name!r} is named twice; leave one out")
        if config.tree() == other.tree():
            raise UsageError(f"--methods: {first.name!r} and {second.name!r} are the same run; leave one out")
    return list(_with_ablations(variants, resolve)) if ablate_meta else [variant for variant, _ in variants]


def refuse_keys_of_flags(settings: Iterable[str], source: str) -> None:
    """Raise UsageError if ``KEY=VALUE`` settings, which come from ``source``, set a key for which there is a flag."""
    for key in flatten(command_line({}, tuple(settings))):
        if key in FLAGS:
            raise UsageError(f"{source}: {key} is set by {FLAGS[key]} here; leave it out")


def split_outside(text: str, separator: str) -> list[str]:
    """Split at every separator, a single character, that is outside of brackets and braces."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _read_variant(text: str) -> MethodVariant:
    method, *settings = split_outside(text, ":")
    refuse_keys_of_flags(settings, f"--methods: {text!r}")
    return MethodVariant(" ".join([method, *settings]), method, tuple(settings))


def _with_ablations(variants: Iterable[tuple[MethodVariant, Config]], resolve: Resolve) -> Iterator[MethodVariant]:
    """Yield each variant, with the name of its ablation, and each ablation after the first variant that needs it."""
    known = [(config.tree(), variant.name) for variant, config in variants]
    for variant, config in variants:
        ablation = _ablation(variant, config)
        if ablation is None:
            yield variant
            continue
        tree = resolve(ablation).tree()
        name = next((name for other, name in known if other == tree), None)
        yield replace(variant, ablation=name or ablation.name)
        if name is None:
            known.append((tree, ablation.name))
            yield ablation


def _ablation(variant: MethodVariant, config: Config) -> MethodVariant | None:
    """Return the variant without its meta term, and without the settings that only this term reads.

    Return None if it has no such term, or if the term is off already.
    """
    method = METHODS.load(variant.method)
    if method.meta_weight is None or not flatten(config.tree())[method.meta_weight]:
        return None
    dropped = (method.meta_weight, *method.meta_options)
    kept = tuple(setting for setting in variant.settings if setting.partition("=")[0] not in dropped)
    name = " ".join([variant.method, *kept, f"{method.meta_weight}=0"])
    return MethodVariant(name, variant.method, (*kept, f"{method.meta_weight}=0.0"))
