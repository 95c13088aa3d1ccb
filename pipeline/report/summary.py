"""The end of a run: its results as a file, a table and a model that can be used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn


def results_table(summary: Mapping[str, Any]) -> str:
    """Return the final table: accuracy of every set of weights on the validation and the test split."""
    lines = [f"{'weights':<26}{'val %':>9}{'test %':>9}"]
    for name, row in summary["results"].items():
        val = f"{row['val']['accuracy']:.2f}" if "val" in row else "-"
        lines.append(f"{name:<26}{val:>9}{row['test']['accuracy']:>9.2f}")
    return "\n".join(lines)


def export_model(path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write weights as safetensors, with all that is needed to build the network again in the metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, str(partial), dict(metadata))
    partial.replace(path)
