"""Metrics of a run: averaged on the device, and written by rank 0 as JSON lines and TensorBoard events."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboardX import SummaryWriter
from torch import Tensor

from pipeline.distributed.world import World
from pipeline.run_folder import RunFolder


class Meter:
    """Sums of metrics since the last reading; they stay on the device, so that no step waits for it."""

    def __init__(self) -> None:
        self.totals: dict[str, tuple[Tensor, int]] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add the scalars of a step."""
        for name, value in metrics.items():
            total, count = self.totals.get(name, (torch.zeros_like(value), 0))
            self.totals[name] = (total + value, count + 1)

    def read(self, world: World) -> dict[str, float]:
        """Return the means over steps and ranks, and start new sums. All ranks call this together."""
        names = sorted(self.totals)
        if not names:
            return {}
        means = torch.stack([self.totals[name][0].float() / self.totals[name][1] for name in names])
        world.mean_([means])
        self.totals = {}
        return dict(zip(names, means.tolist(), strict=True))


class RunLog:
    """``metrics.jsonl``, append-only, and TensorBoard events in a run folder.

    The ``time`` of a line is in seconds since 1970. A resumed run repeats the steps after its checkpoint; the later
    line of a step is the valid one.

    Args:
        folder: the run folder.
        step: number of steps that are done already.
        quiet: whether to write nothing, as every rank but the first does.
    """

    def __init__(self, folder: Path, step: int, *, quiet: bool = False) -> None:
        self.quiet = quiet
        if quiet:
            return
        run = RunFolder(folder)
        path = run.metrics_file
        torn = path.exists() and not path.read_bytes().endswith(b"\n")  # by a process that was killed
        self.lines = path.open("a", buffering=1)
        if torn and path.stat().st_size:
            self.lines.write("\n")
        self.events = SummaryWriter(str(run.events_folder), purge_step=step + 1 if step else None)

    def write(self, step: int, group: str, values: Mapping[str, Any]) -> None:
        """Write a line with the values of a group, such as ``train`` or ``val/ema``."""
        if self.quiet:
            return
        self.lines.write(json.dumps({"step": step, "group": group, "time": round(time.time(), 2), **values}) + "\n")
        for name, value in values.items():
            self.events.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        if not self.quiet:
            self.lines.close()
            self.events.close()
