"""Read weights from a file, and copy them into a network that may have a classifier of its own."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from data_prep.system.errors import DataError

OLD_EXPORT = (
    "exported by an older version, which named tensors in another way; to write it again from the checkpoint, remove "
    "summary.json beside it and repeat the smpl-train command of the run"
)


def is_old_export(state: Collection[str]) -> bool:
    """Return whether the names of tensors are those of an older version, which exported the normalization too."""
    return any(name == "0.mean" or name.endswith(".0.mean") for name in state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file of safetensors or ``torch.save``; it may be under the key state_dict or model.

    Nothing in the file is executed. Raises DataError if the file is missing or damaged, or holds no weights.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"model.weights: cannot read {path}: {error.strerror or first_line(error)}") from None
    except Exception:  # the readers raise errors of many types on a truncated or foreign file
        raise DataError(f"model.weights: {path} is damaged, or holds something other than weights") from None
    state = _unwrap(content)
    if not state:
        raise DataError(f"model.weights: {path} holds no weights; give a state dict")
    if is_old_export(state):
        raise DataError(f"model.weights: {path}: {OLD_EXPORT}")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def fit_weights(network: nn.Module, weights: Mapping[str, Tensor], classifier: Collection[str], source: str) -> None:
    """Copy ``weights`` into ``network``, which keeps its own classifier if that of the weights is missing or differs.

    Args:
        network: the network, of any architecture; it is changed in place.
        weights: tensors by their names in ``network.state_dict()``.
        classifier: names of the layers that output the logits.
        source: where the weights come from, for messages.

    Raises:
        DataError: a tensor outside of the classifier is missing on one side or has another shape.
    """
    state = network.state_dict()
    own = {name: tensor for name, tensor in state.items() if is_inside(name, classifier)}
    if any(name not in weights or weights[name].shape != tensor.shape for name, tensor in own.items()):
        weights = {name: tensor for name, tensor in weights.items() if not is_inside(name, classifier)} | own
    for mismatch in _mismatches(network, state, weights):
        raise DataError(f"model.weights: {source} does not fit: {mismatch}")
    # updated in place, since a state dict has the versions of its layers, which MNASNet requires
    state.update({name: tensor for name, tensor in weights.items() if name in state})
    try:
        network.load_state_dict(state)
    except RuntimeError:  # for tensors without storage or with another layout
        raise DataError(f"model.weights: {source} does not fit: its tensors cannot be copied") from None


def is_inside(name: str, layers: Collection[str]) -> bool:
    """Return whether the name of a tensor or module is one of ``layers`` or inside one of them."""
    return any(name == layer or name.startswith(layer + ".") for layer in layers)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type if it has no message."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip()


def _unwrap(content: Any) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    named = content.items() if isinstance(content, Mapping) else ()
    return {name: tensor for name, tensor in named if isinstance(name, str) and isinstance(tensor, Tensor)}


def _mismatches(network: nn.Module, state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield a description of each tensor that does not fit.

    Old files lack the batch count of batch normalization, which has no effect.
    """
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
    """Return whether a tensor belongs to a layer that this network leaves out, such as an auxiliary classifier."""
    return getattr(network, name.partition(".")[0], network) is None
