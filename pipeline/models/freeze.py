"""Freeze layers of a network, so that training does not change them."""

from collections.abc import Collection

from torch import nn

from data_prep.system.errors import UsageError
from pipeline.models.pretrained import is_inside
from pipeline.registry import nearest

BACKBONE = "backbone"
"""The value of ``model.freeze`` that freezes all layers except the classifier."""


def frozen_modules(network: nn.Module, freeze: str | None, classifier: Collection[str]) -> frozenset[str]:
    """Return the names of the modules to freeze, as in ``network.named_modules()``.

    Args:
        freeze: None for no module, ``"backbone"`` for all but the classifier, or the name of a child of the network, to
            freeze it and all children before it.
        classifier: names of the layers that output the logits.

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
        raise UsageError(
            f"model.freeze: {freeze!r} contains the classifier or comes after it; choose a layer before it"
        )
    return frozenset(name for name in names if is_inside(name, low))


def freeze_parameters(network: nn.Module, frozen: Collection[str]) -> None:
    """Switch off the gradients of the parameters of the ``frozen`` modules.

    If a module is frozen, the network's own parameters are frozen as well. Those are parameters outside of all modules,
    such as the class token of a ViT, which is an input of the first layers.
    """
    for name in {"", *frozen} if frozen else ():
        for parameter in network.get_submodule(name).parameters(recurse=False):
            parameter.requires_grad_(False)
