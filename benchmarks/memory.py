"""``smpl bench memory``: the memory that each method holds during a training step.

Activations are what autograd saves for backward passes: the peak, over one step, of the bytes of all storages that
graphs keep, where each storage counts once. State is weights, buffers, optimizer state and averages. Neither includes
gradients (at most a few times the weights) or memory within one operation, such as forward-mode derivatives. The peak
of a GPU's allocator, measured over a second step, includes both, and the batch.

``mpl-public-order`` is MPL in the order of public code (kekmodel/MPL-pytorch): the teacher's graph over labeled, weak
and strong views is kept during the student's whole step. SMPL's published savings refer to this order.
"""

import gc
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.record import report_rows
from benchmarks.step import bench_config, random_split, training_data
from data_prep.system.cli import Command
from data_prep.system.errors import UsageError
from pipeline.config.schema import Config
from pipeline.data.batches.batch import Batch
from pipeline.data.training_splits import TrainingData
from pipeline.distributed.world import World, join_world
from pipeline.methods.prediction import WeakPrediction, label_weak_views
from pipeline.methods.uda import consistency
from pipeline.registry import nearest
from pipeline.training.throughput import Clock
from pipeline.training.trainer import Trainer

Step = Callable[[Trainer], None]


def engine_step(trainer: Trainer) -> None:
    """Train one step as a run does."""
    trainer.train_step(Clock())


def public_step(trainer: Trainer) -> None:
    """Train MPL's two networks for one step in the order of public code, with the method's own losses."""
    batch = trainer.loader.batch(trainer.step)
    teacher, student = trainer.networks["teacher"], trainer.networks["student"]
    with trainer.precision.autocast():
        logits = teacher.module(torch.cat([batch.labeled, batch.weak, batch.strong])).float()
    labeled, weak, strong = logits.split([len(batch.labeled), len(batch.weak), len(batch.strong)])
    prediction = label_weak_views(batch, weak.detach())
    feedback = _public_student(trainer, prediction, batch)
    unlabeled = consistency(trainer.method.options["uda"], 1.0, strong, prediction.logits, batch)
    loss = F.cross_entropy(labeled, batch.labels) + unlabeled
    loss = loss + feedback * F.cross_entropy(strong, strong.detach().argmax(1))
    teacher.scaler.scale(loss).backward()
    teacher.apply("optimizer", trainer.runner.guard)
    student.end_step()
    teacher.end_step()
    trainer.update_averages()


def _public_student(trainer: Trainer, prediction: WeakPrediction, batch: Batch) -> Tensor:
    """Update the student with a graph over labeled and strong views; return its old - new labeled loss, a scalar."""
    student = trainer.networks["student"]
    with trainer.precision.autocast():
        logits = student.module(torch.cat([batch.labeled, batch.strong])).float()
    labeled, strong = logits.split([len(batch.labeled), len(batch.strong)])
    old = F.cross_entropy(labeled.detach(), batch.labels)
    student.scaler.scale(F.cross_entropy(strong, prediction.labels)).backward()
    student.apply("optimizer", trainer.runner.guard)
    with torch.no_grad(), trainer.precision.autocast():
        return old - F.cross_entropy(student.module(batch.labeled).float(), batch.labels)


REFERENCES = ("mpl", "mpl-public-order")
ROWS: dict[str, tuple[dict[str, Any], Step]] = {
    "supervised": ({"method": "supervised"}, engine_step),
    "uda": ({"method": "uda"}, engine_step),
    "metasemi": ({"method": "metasemi"}, engine_step),
    "smpl-recompute": ({"method": "smpl", "smpl": {"form": "recompute"}}, engine_step),
    "smpl-shared-graph": ({"method": "smpl", "smpl": {"form": "shared-graph"}}, engine_step),
    "mpl": ({"method": "mpl"}, engine_step),
    "mpl-unrolled": ({"method": "mpl", "mpl": {"mode": "unrolled"}}, engine_step),
    "mpl-public-order": ({"method": "mpl"}, public_step),
}


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--batch-size", default=32, type=click.IntRange(1), help="Labeled images, B.")
@click.option("--mu", default=7, type=click.IntRange(1), help="Unlabeled images per labeled one.")
@click.option("--width", default=2, type=click.IntRange(1), help="Width of the wide residual network of depth 28.")
@click.option("--precision", default="fp32", type=click.Choice(["auto", "fp32", "bf16", "fp16"]))
@click.option("--methods", default=",".join(ROWS), help="Rows, separated by commas.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write rows, machine, commit and command there.")
def main(batch_size: int, mu: int, width: int, precision: str, methods: str, as_json: bool, out: Path | None) -> None:
    """Measure the memory of a training step; ratios compare totals with MPL here and in the order of public code."""
    names = methods.split(",")
    for name in names:
        if name not in ROWS:
            raise UsageError(f"--methods: unknown row {name!r}: {nearest(name, ROWS)}")
    world, measured = join_world(), {}
    for name in dict.fromkeys([*names, *REFERENCES]):
        settings, step = ROWS[name]
        data = training_data(random_split(world.device, batch_size * (1 + mu)))
        config = bench_config(settings, batch_size, mu, width, precision)
        measured[name] = measure(config, data, world, step)
    rows = [_row(name, measured) for name in names]
    report_rows(rows, _line, as_json=as_json, out=out)


def measure(config: Config, data: TrainingData, world: World, step: Step = engine_step) -> dict[str, int]:
    """Return the bytes that one step holds; on a GPU also the allocator's peak during another step."""
    gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, data, world, Path(folder))
        saved = SavedActivations(_tensors_of_modules(trainer))
        with saved.counted():
            step(trainer)
        state = sum(storage_sizes(_state(trainer)).values())
        held = {"activation_bytes": saved.peak, "state_bytes": state, "total_bytes": saved.peak + state}
        if world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            step(trainer)
            torch.cuda.synchronize()
            held["cuda_peak_bytes"] = torch.cuda.max_memory_allocated()
    return held


class SavedActivations:
    """Counts the bytes that graphs save for backward passes while they are alive; each storage counts once.

    Args:
        known: tensors that exist anyway, such as parameters, and do not count.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        self.known = set(storage_sizes(known))
        self.holders: Counter[int] = Counter()
        self.alive = self.peak = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what forward passes save inside this context."""
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Saved(self, tensor), lambda saved: saved.tensor):
            yield

    def take(self, address: int, size: int) -> None:
        self.holders[address] += 1
        if self.holders[address] == 1 and address not in self.known:
            self.alive += size
            self.peak = max(self.peak, self.alive)

    def drop(self, address: int, size: int) -> None:
        self.holders[address] -= 1
        if not self.holders[address] and address not in self.known:
            self.alive -= size


class _Saved:
    """The object that a node of the graph keeps in place of a tensor, deleted when the node releases it."""

    def __init__(self, count: SavedActivations, tensor: Tensor) -> None:
        self.count, self.tensor = count, tensor.detach()
        ((self.address, self.size),) = storage_sizes([tensor]).items()
        count.take(self.address, self.size)

    def __del__(self) -> None:
        self.count.drop(self.address, self.size)


def storage_sizes(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Return the bytes of each distinct storage, by its address."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def _tensors_of_modules(trainer: Trainer) -> Iterator[Tensor]:
    modules = [network.module for network in trainer.networks.values()]
    for module in (*modules, *(average.network for average in trainer.averages.values())):
        yield from (*module.parameters(), *module.buffers())


def _state(trainer: Trainer) -> Iterator[Tensor]:
    """Yield weights, buffers, averages and optimizer state."""
    yield from _tensors_of_modules(trainer)
    for network in trainer.networks.values():
        for optimizer in network.optimizers.values():
            for state in optimizer.state.values():
                yield from (value for value in state.values() if isinstance(value, Tensor))


def _row(name: str, measured: dict[str, dict[str, int]]) -> dict[str, Any]:
    total = measured[name]["total_bytes"]
    ratios = [round(total / measured[reference]["total_bytes"], 4) for reference in REFERENCES]
    return {"method": name} | measured[name] | dict(zip(("to_mpl", "to_public_order"), ratios, strict=True))


def _line(row: dict[str, Any]) -> str:
    sizes = "   ".join(f"{part} {row[f'{part}_bytes'] / 2**20:>7.1f}" for part in ("activation", "state", "total"))
    ratios = f"{row['to_mpl']:.3f} of mpl   {row['to_public_order']:.3f} of public order"
    gpu = f"   GPU peak {row['cuda_peak_bytes'] / 2**20:.1f}" if "cuda_peak_bytes" in row else ""
    return f"{row['method']:<18} MiB: {sizes}   {ratios}{gpu}"
