"""Run one training step: the phases of a method on this rank's micro-batches, with results over all ranks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pipeline.data.batches.batch import Batch
from pipeline.data.sampling.stateless_rng import derive_key
from pipeline.distributed.world import World
from pipeline.methods.phases import (
    Apply,
    Compute,
    Differentiate,
    Gradient,
    Measure,
    Phase,
    Phases,
    Report,
    Shift,
    Update,
)
from pipeline.precision import Precision
from pipeline.training.nonfinite_guard import Guard
from pipeline.training.trainable import Network


class StepRunner:
    """Runs phases for the networks of one method.

    Losses are means over micro-batches of equal size, so the mean over micro-batches and ranks is the mean over the
    global batch. The random stream of dropout is a function of (seed, step, phase, index of the micro-batch in the
    global batch), so two ranks with one micro-batch each compute the same as one rank with two.
    """

    def __init__(self, networks: Mapping[str, Network], world: World, precision: Precision, seed: int) -> None:
        self.networks, self.world, self.precision, self.seed = networks, world, precision, seed
        self.guard = Guard(world.device)
        self.step = 0
        # torch.manual_seed takes 0.3 ms without CUDA, because it records the stack for the time when CUDA starts
        self.seed_dropout = torch.default_generator.manual_seed if world.device.type == "cpu" else torch.manual_seed
        self.reports: dict[str, Tensor] = {}

    def run(self, step: int, phases: Phases, batches: list[Batch]) -> dict[str, Tensor]:
        """Run all phases of ``step`` on this rank's micro-batches; return the metrics as scalars on the device."""
        self.step = self.guard.step = step
        self.reports = {}
        for network in self.networks.values():
            network.module.train()
            network.schedule(step)
        result: Any = None
        try:
            while True:
                result = self.run_phase(phases.send(result), batches)
        except StopIteration:
            pass
        for network in self.networks.values():
            network.end_step()
        self.world.average_statistics(network.module for network in self.networks.values())
        return _mean_metrics(batches) | self.reports

    def run_phase(self, phase: Phase, batches: list[Batch]) -> Any:
        """Run one phase and return its result, which the method's generator receives."""
        match phase:
            case Measure():
                return self.global_mean(self.compute(phase, batches))
            case Compute():
                return dict(zip(batches, self.compute(phase, batches), strict=True))
            case Update():
                return self.update(phase, batches)
            case Differentiate():
                return self.differentiate(phase, batches)
            case Apply():
                return self.apply(phase)
            case Report():
                self.reports |= phase.values
                return None

    def compute(self, phase: Compute[Any], batches: list[Batch]) -> list[Any]:
        """Return what ``phase.of`` gives for each micro-batch of this rank."""
        values: list[Any] = []
        with torch.no_grad(), self.weights_at(phase.at, phase.eval_mode), ExitStack() as stack:
            if not phase.track_running_stats:
                for network in self.networks.values():
                    stack.enter_context(network.frozen_statistics())
            for index, batch in self.micro_batches(batches):
                with self.forward_context(phase.name, index, len(batches), full_precision=phase.full_precision):
                    values.append(phase.of(batch))
        return values

    def global_mean(self, values: list[Tensor]) -> Tensor:
        """Return the mean over micro-batches and ranks, a scalar in at least float32."""
        mean = torch.stack(values).to(torch.promote_types(values[0].dtype, torch.float32)).mean()
        self.world.mean_([mean])
        return mean

    def update(self, phase: Update, batches: list[Batch]) -> Tensor:
        """Make a step along the gradient of a loss; return whether the gradient was finite, a boolean scalar."""
        network = self.networks[phase.network]
        with network.learning(averaged=True):
            for index, batch in self.micro_batches(batches):
                with network.accumulating(last=index == len(batches) - 1):
                    noise = phase.noise or f"{phase.network} {phase.rule}"
                    with self.forward_context(noise, index, len(batches)):
                        loss = phase.loss(batch) / len(batches)
                    network.scaler.scale(loss).backward()
        return network.apply(phase.rule, self.guard)

    def differentiate(self, phase: Differentiate, batches: list[Batch]) -> tuple[Gradient, ...]:
        """Return the gradient of each loss, a mean over the global batch; no weight changes."""
        network = self.networks[phase.network]
        total: dict[int, Gradient] = {}
        with self.weights_at(phase.at, phase.eval_mode), network.learning(averaged=False), ExitStack() as stack:
            if phase.full_precision:
                stack.enter_context(network.frozen_statistics())
            for index, batch in self.micro_batches(batches):
                with self.forward_context(
                    f"{phase.network} losses", index, len(batches), full_precision=phase.full_precision
                ):
                    losses = phase.losses(batch)
                for number, loss in enumerate(losses):
                    retain = number < len(losses) - 1
                    gradient = network.differentiate(
                        loss / len(batches), retain=retain, scaled=not phase.full_precision
                    )
                    total[number] = total[number] + gradient if number in total else gradient
        self.world.mean_(tensor for gradient in total.values() for tensor in gradient.tensors)
        return tuple(total.values())

    def apply(self, phase: Apply) -> Tensor:
        """Make a step along a given gradient; return whether the gradient was finite, a boolean scalar."""
        network = self.networks[phase.network]
        network.load_gradient(phase.gradient)
        return network.apply(phase.rule, self.guard)

    @contextmanager
    def weights_at(self, at: Shift | None, eval_mode: bool) -> Iterator[None]:
        """Return a context in which one network may be at shifted weights, and all networks in evaluation mode."""
        switched = self.networks.values() if eval_mode else ()
        with self.networks[at.network].shifted(at.by) if at else nullcontext():
            for network in switched:
                network.module.eval()
            yield
            for network in switched:
                network.module.train()

    def micro_batches(self, batches: list[Batch]) -> Iterator[tuple[int, Batch]]:
        """Yield the micro-batches of a pass. BN's running statistics change once, by the mean of their changes."""
        buffers = [buffer for network in self.networks.values() for buffer in network.statistics]
        if len(batches) == 1 or not buffers:
            yield from enumerate(batches)
            return
        before = [buffer.clone() for buffer in buffers]
        change = [torch.zeros_like(buffer) for buffer in buffers]
        for index, batch in enumerate(batches):
            torch._foreach_copy_(buffers, before)
            yield index, batch
            torch._foreach_add_(change, torch._foreach_sub(buffers, before))
        torch._foreach_copy_(buffers, torch._foreach_add(before, torch._foreach_div(change, len(batches))))

    @contextmanager
    def forward_context(self, purpose: str, index: int, count: int, *, full_precision: bool = False) -> Iterator[None]:
        """Return the context of a forward pass: autocast, unless ``full_precision``, and the seed of dropout.

        The seed is a function of the step, ``purpose`` and micro-batch ``index`` of this rank's ``count``.
        """
        key = derive_key(self.seed, self.step, purpose, self.world.rank * count + index)
        self.seed_dropout(key & 0x7FFFFFFFFFFFFFFF)
        with nullcontext() if full_precision else self.precision.autocast():
            yield


def _mean_metrics(batches: list[Batch]) -> dict[str, Tensor]:
    """Return the means over micro-batches of the metrics that the losses reported to their batches."""
    values: dict[str, list[Tensor]] = defaultdict(list)
    for batch in batches:
        for name, value in batch.metrics.items():
            values[name].append(value)
    return {name: torch.stack(list_of).float().mean() for name, list_of in values.items()}
