"""Export a model to one file, and build it again from that file alone.

The file holds the weights under the names that the network itself gives them, so that ``load_state_dict`` of the same
network of torchvision or timm accepts them. What else is needed is in the metadata: how to build the network, the mean
and the deviation by which images are normalized, and the prefix of each member of an ensemble.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, Json, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import DataError, UserError
from pipeline.models import MODELS
from pipeline.models.backbone import Backbone
from pipeline.models.ensemble import combine
from pipeline.models.normalize import Normalize
from pipeline.models.pretrained import OLD_EXPORT, first_line, is_old_export
from pipeline.models.view_average import TestViews
from pipeline.task import Task


def load_model(path: Path | str) -> nn.Module:
    """Return the model of a run's ``model.safetensors``: on the CPU, float32, in evaluation mode.

    The model takes images [B, C, H, W] (pictures of 0..255, uint8 or floating) of the size and channels that it was
    trained on, normalizes them, and returns logits [B, classes]. If the run evaluates one network, the model is that
    network; if several, an :class:`Ensemble` of them by name, whose logits are the mean of the members'.

    Raises:
        DataError: the file is missing or damaged, or ``smpl-train`` did not export it.
    """
    export = read_export(Path(path))
    return combine({name: export.build(name) for name in export.metadata.members}).eval()


class Metadata(BaseModel):
    """The metadata of an exported file."""

    classes: Json[list[str]]
    shape: Json[tuple[int, int, int]]
    mean: Json[tuple[float, ...]]
    """Mean of each channel, in the unit of the images (0 to 255 for pictures): the input is (image - mean) / std."""
    std: Json[tuple[float, ...]]
    """Standard deviation of each channel, in the same unit."""
    model: Json[dict[str, Any]]
    members: Json[Annotated[dict[str, str], Field(min_length=1)]]
    """By the name of each network, what its names of tensors begin with: nothing, unless there are several networks."""
    test_views: TestViews = "plain"
    """The views over which the run averaged the logits for its ``test_accuracy``; the model itself does not."""

    @property
    def task(self) -> Task:
        height, width, channels = self.shape
        return Task((channels, height, width), self.mean, self.std, len(self.classes))


@dataclass(frozen=True)
class Export:
    """An exported file: the weights of its members, and how to build their networks."""

    path: Path
    metadata: Metadata
    tensors: Mapping[str, Tensor]

    def weights(self, member: str) -> dict[str, Tensor]:
        """Return the state dict of one member, which is that of its :func:`bare_network`."""
        prefix = self.metadata.members[member]
        found = {name: tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): tensor for name, tensor in found.items()}

    def build(self, member: str) -> nn.Module:
        """Return one member's network in the memory format of training, for the same results bit for bit."""
        weights = self.weights(member)
        options = {name: value for name, value in self.metadata.model.items() if name not in {"name", "weights"}}
        with _damage_explained(self.path):
            model_class = MODELS.load(self.metadata.model["name"])
            network = assemble(model_class, model_class.Options(**options), self.metadata.task)
            if problem := find_mismatch(bare_network(network), weights):
                raise ValueError(problem)
            bare_network(network).load_state_dict(weights)
        return network.to(memory_format=torch.channels_last)


def read_export(path: Path) -> Export:
    """Read a ``model.safetensors``. Raises DataError if it is missing, damaged or not exported by ``smpl-train``."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        with _damage_explained(path), safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if is_old_export(tensors):
                raise DataError(OLD_EXPORT)
            return Export(path, Metadata.model_validate(file.metadata() or {}), tensors)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or first_line(error)}") from None


def assemble(model_class: Any, options: BaseModel, task: Task) -> nn.Sequential:
    """Return the network that is trained and exported: it normalizes stored images, then applies the model."""
    return nn.Sequential(Normalize(task.mean, task.std), model_class(options, task))


def bare_network(network: nn.Module) -> nn.Module:
    """Return what the exported file holds of an assembled network: the model, or the network of a library inside it."""
    model = network.get_submodule("1")
    return model.network if isinstance(model, Backbone) else model


def find_mismatch(network: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """Return a description of the first tensor of ``weights`` that does not fit the network, or None."""
    state = network.state_dict()
    for name, tensor in state.items():
        if name not in weights:
            return f"there is no {name}"
        if weights[name].shape != tensor.shape:
            return f"{name} has shape {list(weights[name].shape)}, not {list(tensor.shape)}"
    return next((f"the network has no {name}" for name in weights if name not in state), None)


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Return a context that turns any error from a damaged or foreign file into one line for the user."""
    try:
        yield
    except UserError as error:
        raise DataError(f"{path}: {error}") from None
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} is damaged, or is not a model that smpl-train exported: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"there is no {error}" if isinstance(error, KeyError) else first_line(error)


def export_model(path: Path, members: Mapping[str, nn.Module], task: Task, metadata: Mapping[str, str]) -> None:
    """Write weights as safetensors, with all that is needed to build the networks in the metadata.

    Args:
        path: the file.
        members: the assembled networks by name; those of an ensemble, if there are several.
        task: the task that they were built for.
        metadata: the other facts.

    Raises:
        DataError: the file cannot be written.
    """
    prefixes = {name: f"{name}." if len(members) > 1 else "" for name in members}
    tensors = {
        prefixes[name] + key: tensor.detach().cpu().contiguous()
        for name, network in members.items()
        for key, tensor in bare_network(network).state_dict().items()
    }
    channels, height, width = task.shape
    facts = {"shape": (height, width, channels), "mean": task.mean, "std": task.std, "members": prefixes}
    written = {name: json.dumps(fact) for name, fact in facts.items()} | dict(metadata)
    write_durably(path, _sorted_metadata(save(tensors, written)))


def _sorted_metadata(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted, since the library writes them in random order.

    Such a file is eight bytes of length, a JSON header padded to a multiple of eight bytes, and the tensors.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]
