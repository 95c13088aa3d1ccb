"""A network in training, with its optimizers, its loss scaler and the averaging of its gradients over ranks."""

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
from pipeline.training.optimizer import LR_FACTOR, build_descent, build_optimizer


class Network:
    """A network as methods call it: it maps images to logits, and builds a graph only while it is the one that learns.

    Logits are float32 (or float64) in every precision of the pass, since losses and feedback are computed from them.

    Args:
        module: the network, uncompiled, on its device; it shares its weights with its compiled form.
        options: the options of the optimizer.
        world: the ranks.
        precision: the number format of the passes.
        compiler: compiles the passes.
        wait: steps before this network's schedule begins.
        inner_rate: base learning rate of the ``"descent"`` rule; None for that of the optimizer.
        total: steps of the whole run.
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
        """The module that runs passes with a graph; None while this network does not learn."""
        self.updated = False
        """Whether this step has updated the network."""
        self.gradients: dict[nn.Parameter, Tensor] = {}
        """Memory for gradients outside of CUDA graphs, by parameter; empty without such graphs."""

    def __call__(self, images: Tensor) -> Tensor:
        if self.forward is not None and torch.is_grad_enabled():
            logits = self.forward(images)
        else:
            with torch.no_grad():
                logits = self.compiled(images)
        return self.compiler.keep(logits).to(torch.promote_types(logits.dtype, torch.float32))

    @contextmanager
    def learning(self, *, averaged: bool) -> Iterator[None]:
        """Return a context in which forward passes build a graph.

        With ``averaged``, DDP averages the gradients of each backward pass over the ranks.
        """
        self.forward = self.parallel if averaged else self.compiled
        if averaged:
            self.reuse_gradients()
        try:
            yield
        finally:
            self.forward = None

    @contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Return a context for both passes of one micro-batch; DDP averages gradients only in the last one."""
        with ExitStack() as stack:
            if isinstance(self.parallel, DistributedDataParallel) and not last:
                stack.enter_context(self.parallel.no_sync())
            yield

    @contextmanager
    def frozen_statistics(self) -> Iterator[None]:
        """Return a context in which BN uses batch statistics and does not update its running statistics."""
        for norm in self.norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in self.norms:
                norm.track_running_stats = True

    def schedule(self, step: int) -> None:
        """Set the learning rate of every optimizer for ``step``."""
        factor = rate_factor(step, self.options, wait=self.wait, total=self.total)
        for rule, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.rates[rule] * factor * group.get(LR_FACTOR, 1.0)

    @property
    def rate(self) -> float:
        """The learning rate of this step, without the factor of BN's biases."""
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
        """Return a context in which ``by`` is added to the weights; its end restores them from a copy, bit for bit."""
        weights = [parameter.detach() for parameter in self.parameters]
        saved = [weight.clone() for weight in weights]
        torch._foreach_add_(weights, by.tensors)
        try:
            yield
        finally:
            torch._foreach_copy_(weights, saved)

    def differentiate(self, loss: Tensor, *, retain: bool, scaled: bool = True) -> Gradient:
        """Return this rank's gradient of a scalar loss, not averaged over ranks.

        Args:
            loss: the loss.
            retain: whether the graph of the loss is needed again.
            scaled: whether the loss scaler multiplies the loss.
        """
        loss = self.scaler.scale(loss) if scaled else loss
        return Gradient(self.compiler.keep_all(torch.autograd.grad(loss, self.parameters, retain_graph=retain)))

    def reuse_gradients(self) -> None:
        """Give gradients memory of their own to add up in, if those of a pass are in the memory of a CUDA graph."""
        if self.gradients:
            torch._foreach_zero_(list(self.gradients.values()))
        for parameter, memory in self.gradients.items():
            parameter.grad = memory

    def remove_gradients(self) -> None:
        """Remove all gradients. With CUDA graphs, reserve memory for each parameter that had one."""
        for parameter in self.parameters:
            if self.compiler.graphs and parameter.grad is not None and parameter not in self.gradients:
                self.gradients[parameter] = torch.zeros_like(parameter)
            parameter.grad = None

    def load_gradient(self, gradient: Gradient) -> None:
        """Copy a gradient into the parameters, for :meth:`apply`."""
        for parameter, tensor in zip(self.parameters, gradient.tensors, strict=True):
            parameter.grad = tensor.clone()

    def apply(self, rule: str, guard: Guard) -> Tensor:
        """Unscale and clip the gradients and make a step; a non-finite gradient changes no weight.

        Args:
            rule: ``"optimizer"`` or ``"descent"``.
            guard: records non-finite gradients.

        Returns:
            Whether the gradient was finite, a boolean scalar on the device.
        """
        optimizer = self.optimizers[rule]
        self.scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.options.clip or float("inf"))
        if not self.precision.scaled:
            setattr(optimizer, "found_inf", guard.watch(norm))  # noqa: B010  fused SGD reads it
        self.scaler.step(optimizer)
        self.updated = True
        self.remove_gradients()
        return torch.isfinite(norm)

    def end_step(self) -> None:
        """Adapt the loss scale, once per step, if the step updated this network."""
        if self.updated:
            self.scaler.update()
        self.updated = False

    @property
    def scale_collapsed(self) -> bool:
        """Whether recent steps overflowed at every loss scale, so that the gradients themselves are not finite."""
        return self.precision.scaled and self.scaler.get_scale() < 1

    def state_dict(self) -> dict[str, object]:
        """Return weights, and the states of optimizer and loss scaler."""
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
