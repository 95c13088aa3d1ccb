"""What people read at the end of a run: the table of its accuracies, and a description of its networks."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn


def results_table(results: Mapping[str, Any], views: str) -> str:
    """Return the final table: accuracy in percent of each set of weights on the validation and the test split.

    A line below it names the ``views`` of each image, unless they are plain.
    """
    rows = _rows(results)
    width = max(26, *(len(title) + 2 for title in rows))
    lines = [f"{'weights':<{width}}{'val %':>9}{'test %':>9}"]
    for title, row in rows.items():
        val = f"{row['val']['accuracy']:.2f}" if "val" in row else "-"
        lines.append(f"{title:<{width}}{val:>9}{row['test']['accuracy']:>9.2f}")
    if views != "plain":
        lines.append(f"each image is scored by its mean over {views} views")
    return "\n".join(lines)


def _rows(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows by title. The title of an ensemble's row says that it is one; the rows of its members follow."""
    rows: dict[str, Any] = {}
    for name, row in results.items():
        members = {other: scores for other, scores in results.items() if other.startswith(f"{name}, ")}
        if name not in rows:
            rows |= {f"{name}, ensemble" if members else name: row} | members
    return rows


def describe_network(name: str, network: nn.Module, shape: Sequence[int]) -> str:
    """Return one line about a network for images of ``shape`` (C, H, W), and its layers."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    total, trainable = sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)
    takes = ", ".join(map(str, shape))
    return f"{name}: {total:,} parameters, {trainable:,} trainable; input [B, {takes}]\n{network}"
