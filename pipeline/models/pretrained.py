"""Weights made elsewhere: read from a file, and put into a network whose classifier is its own."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from data_prep.system.errors import DataError


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file of safetensors or of ``torch.save``, bare or under state_dict or model.

    Nothing in the file is executed. Raises DataError where there is no such file, or no weights in it.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"model.weights: cannot read {path}: {error.strerror or first_line(error)}") from None
    except Exception:  # of a file that is cut or something else: any reader's own
        raise DataError(f"model.weights: {path} is damaged, or holds other things than weights") from None
    state = _unwrap(content)
    if not state:
        raise DataError(f"model.weights: {path} holds no weights; give a state dict")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def fit_weights(network: nn.Module, weights: Mapping[str, Tensor], classifier: Collection[str], source: str) -> None:
    """Copy ``weights`` into ``network``; a classifier for other classes, or none, leaves the network's as it is.

    Args:
        network: of any architecture; changed in place.
        weights: by name, as in ``network.state_dict()``.
        classifier: names of the layers that give the logits.
        source: of the weights, for messages.

    Raises:
        DataError: with the first tensor, but for the classifier's, that one side lacks or whose shape differs.
    """
    state = network.state_dict()
    own = {name: tensor for name, tensor in state.items() if is_inside(name, classifier)}
    if any(name not in weights or weights[name].shape != tensor.shape for name, tensor in own.items()):
        weights = {name: tensor for name, tensor in weights.items() if not is_inside(name, classifier)} | own
    for mismatch in _mismatches(network, state, weights):
        raise DataError(f"model.weights: {source} does not fit: {mismatch}")
    # in place, as a state dict carries its layers' versions, without which MNASNet takes none
    state.update({name: tensor for name, tensor in weights.items() if name in state})
    try:
        network.load_state_dict(state)
    except RuntimeError:  # of tensors without storage, or of another layout
        raise DataError(f"model.weights: {source} does not fit: its tensors cannot be copied") from None


def is_inside(name: str, layers: Collection[str]) -> bool:
    """Return whether a tensor or module is one of ``layers`` or inside one."""
    return any(name == layer or name.startswith(layer + ".") for layer in layers)


def first_line(error: Exception) -> str:
    """Return what an error says, without the listing that may follow."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip()


def _unwrap(content: Any) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    named = content.items() if isinstance(content, Mapping) else ()
    return {name: tensor for name, tensor in named if isinstance(name, str) and isinstance(tensor, Tensor)}


def _mismatches(network: nn.Module, state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield every tensor that does not fit; old files lack BN's count of batches, which nothing depends on."""
    for name, tensor in weights.items():
        if name not in state:
            if not _is_optional(network, name):
                yield f"the network has no {name}"
        elif tensor.shape != state[name].shape:
            yield f"{name} has shape {list(tensor.shape)}, not {list(state[name].shape)}"
    for name in state:
        if name not in weights and not name.endswith("num_batches_tracked"):
            yield f"it lacks {name}"


def _is_optional(network: nn.Module, name: str) -> bool:
    """Return whether a tensor is of a layer that this network could have, such as an auxiliary classifier."""
    return getattr(network, name.partition(".")[0], network) is None
