"""Which layers of a network stay as they are."""

from collections.abc import Collection

from torch import nn

from data_prep.system.errors import UsageError
from pipeline.models.pretrained import is_inside
from pipeline.registry import nearest

BACKBONE = "backbone"


def frozen_modules(network: nn.Module, freeze: str | None, classifier: Collection[str]) -> frozenset[str]:
    """Return the names of the modules to freeze, as in ``network.named_modules()``.

    Args:
        freeze: None for none, ``"backbone"`` for all but the classifier, or the last of the network's children to
            freeze, with all that come before it.
        classifier: names of the layers that give the logits.

    Raises:
        UsageError: there is no such child, or the classifier would be frozen too.
    """
    names = [name for name, _ in network.named_modules()]
    if freeze is None:
        return frozenset()
    if freeze == BACKBONE:
        return frozenset(name for name in names if not is_inside(name, classifier))
    children = [name for name, _ in network.named_children()]
    if freeze not in children:
        raise UsageError(f"model.freeze: no layer {freeze!r}: {nearest(freeze, [BACKBONE, *children])}")
    low = children[: children.index(freeze) + 1]
    if any(is_inside(name, low) for name in classifier):
        raise UsageError(f"model.freeze: {freeze!r} has the classifier in it or before it; choose a layer below it")
    return frozenset(name for name in names if is_inside(name, low))


def freeze_parameters(network: nn.Module, frozen: Collection[str]) -> None:
    """Let the parameters of ``frozen`` modules take no gradient.

    The network's own, such as a class token, enter below its first layer and are frozen with any.
    """
    for name in {"", *frozen} if frozen else ():
        for parameter in network.get_submodule(name).parameters(recurse=False):
            parameter.requires_grad_(False)
