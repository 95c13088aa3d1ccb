"""A network in training: its weights, optimizers, loss scaler and gradient averaging, kept together."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from pipeline.config.schema import OptimizerOptions
from pipeline.distributed.world import World
from pipeline.methods.phases import Gradient
from pipeline.precision import Precision
from pipeline.training.compilation import Compiler
from pipeline.training.lr_schedule import rate_factor
from pipeline.training.nonfinite_guard import Guard
from pipeline.training.optimizer import build_descent, build_optimizer


class Network:
    """Callable as methods see it: images to logits, with a graph only while this network is the one that learns.

    Logits are float32, or float64, whatever the precision of the pass: losses and feedback are computed in them.

    Args:
        module: the bare network, on its device; it stays plain, and shares its weights with what is compiled.
        options: of the optimizer.
        compiler: of its passes.
        wait: steps before this network's schedule begins.
        inner_rate: base rate of the ``"descent"`` rule; the optimizer's own if None.
        total: steps of the whole run, for the schedule.
    """

    def __init__(
        self,
        module: nn.Module,
        options: OptimizerOptions,
        world: World,
        precision: Precision,
        *,
        compiler: Compiler,
        total: int,
        wait: int = 0,
        inner_rate: float | None = None,
    ) -> None:
        self.module, self.options, self.world, self.precision = module, options, world, precision
        self.compiler, self.total, self.wait = compiler, total, wait
        self.rates = {"optimizer": options.lr, "descent": options.lr if inner_rate is None else inner_rate}
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimizers = {"optimizer": build_optimizer(module, options), "descent": build_descent(self.parameters)}
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=precision.scaled)
        self.norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        self.statistics = [buffer for norm in self.norms for buffer in norm.buffers() if buffer.is_floating_point()]
        self.compiled = compiler.network(module)
        self.parallel = self._wrap()
        self.forward: nn.Module | None = None
        self.moved = False
        self.held: dict[nn.Parameter, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        if self.forward is not None and torch.is_grad_enabled():
            logits = self.forward(images)
        else:
            with torch.no_grad():
                logits = self.compiled(images)
        return self.compiler.kept(logits).to(torch.promote_types(logits.dtype, torch.float32))

    @contextmanager
    def learning(self, *, averaged: bool) -> Iterator[None]:
        """Give forward passes a graph; with ``averaged``, DDP averages the gradients of each backward pass."""
        self.forward = self.parallel if averaged else self.compiled
        if averaged:
            self.hold_gradients()
        try:
            yield
        finally:
            self.forward = None

    @contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Put off DDP's averaging to the last micro-batch; counts around the forward pass."""
        with ExitStack() as stack:
            if isinstance(self.parallel, DistributedDataParallel) and not last:
                stack.enter_context(self.parallel.no_sync())
            yield

    @contextmanager
    def frozen_statistics(self) -> Iterator[None]:
        """Let BN use batch statistics without moving its running ones."""
        for norm in self.norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in self.norms:
                norm.track_running_stats = True

    def schedule(self, step: int) -> None:
        """Set every rule's learning rate for ``step``."""
        factor = rate_factor(step, self.options, wait=self.wait, total=self.total)
        for rule, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[rule] * factor

    @property
    def rate(self) -> float:
        """The optimizer's learning rate of this step."""
        return float(self.optimizers["optimizer"].param_groups[0]["lr"])

    def directional_derivative(self, images: Tensor, direction: Gradient) -> tuple[Tensor, Tensor]:
        """Return logits and their derivative along ``direction``, both [N, classes], by forward-mode differentiation.

        SyncBatchNorm has no such derivative.
        """
        names = [name for name, parameter in self.module.named_parameters() if parameter.requires_grad]
        weights = dict(zip(names, (parameter.detach() for parameter in self.parameters), strict=True))
        tangents = dict(zip(names, direction.tensors, strict=True))
        forward = partial(functional_call, self.module, args=(images,))
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no such derivative
            warnings.simplefilter("ignore", FutureWarning)  # torch's own formulas go through a deprecated torch.jit
            logits, derivative = cast("tuple[Tensor, Tensor]", jvp(forward, (weights,), (tangents,)))
        wide = torch.promote_types(logits.dtype, torch.float32)
        return logits.to(wide), derivative.to(wide)

    @contextmanager
    def shifted(self, by: Gradient) -> Iterator[None]:
        """Add ``by`` to the weights for a while; they come back from a copy, bit for bit."""
        weights = [parameter.detach() for parameter in self.parameters]
        kept = [weight.clone() for weight in weights]
        torch._foreach_add_(weights, by.tensors)
        try:
            yield
        finally:
            torch._foreach_copy_(weights, kept)

    def differentiate(self, loss: Tensor, *, retain: bool, scaled: bool = True) -> Gradient:
        """Return this rank's gradient of ``loss``, scaled by the loss scaler if so, not yet averaged over ranks."""
        loss = self.scaler.scale(loss) if scaled else loss
        return Gradient(self.compiler.all_kept(torch.autograd.grad(loss, self.parameters, retain_graph=retain)))

    def hold_gradients(self) -> None:
        """Give gradients memory of their own to add up in, where those of a pass lie in a CUDA graph's."""
        if self.held:
            torch._foreach_zero_(list(self.held.values()))
        for parameter, memory in self.held.items():
            parameter.grad = memory

    def drop_gradients(self) -> None:
        """Leave no parameter with a gradient; under CUDA graphs, note which ones had one."""
        for parameter in self.parameters:
            if self.compiler.graphs and parameter.grad is not None and parameter not in self.held:
                self.held[parameter] = torch.zeros_like(parameter)
            parameter.grad = None

    def load_gradient(self, gradient: Gradient) -> None:
        for parameter, tensor in zip(self.parameters, gradient.tensors, strict=True):
            parameter.grad = tensor.clone()

    def apply(self, rule: str, guard: Guard) -> Tensor:
        """Unscale, clip and step along the gradients at hand; a non-finite gradient moves nothing.

        Returns:
            Whether the gradient was finite, a boolean scalar on the device.
        """
        optimizer = self.optimizers[rule]
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.options.clip or float("inf"))
        if not self.precision.scaled:
            setattr(optimizer, "found_inf", guard.watch(norm))  # noqa: B010  fused SGD reads it
        self.scaler.step(optimizer)
        self.moved = True
        self.drop_gradients()
        return torch.isfinite(norm)

    def end_step(self) -> None:
        """Adapt the loss scale, once a step, if this network was updated in it."""
        if self.moved:
            self.scaler.update()
        self.moved = False

    @property
    def scale_collapsed(self) -> bool:
        """Whether every recent step overflowed whatever the loss scale: gradients are not finite in themselves."""
        return self.precision.scaled and self.scaler.get_scale() < 1

    def state_dict(self) -> dict[str, object]:
        return {
            "weights": self.module.state_dict(),
            "optimizer": self.optimizers["optimizer"].state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["weights"])
        self.optimizers["optimizer"].load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def _wrap(self) -> nn.Module:
        if self.world.size == 1:
            return self.compiled
        parallel = DistributedDataParallel(self.compiled, gradient_as_bucket_view=True)
        parallel.broadcast_buffers = False  # no argument: its name changes between torch 2.11 and 2.15
        return parallel
