"""The processes of a run: the rank and device of this one, and the reductions that make local values global."""

import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from data_prep.system.errors import UserError
from data_prep.system.malloc import keep_memory

T = TypeVar("T")
GLOO = re.compile(r"\[.*\bgloo/[\w/]+\.(cc|h):\d+\]")
"""Matches the file and line of gloo's source in its error messages; gloo has no exception type of its own."""


@dataclass(frozen=True)
class World:
    """This process and the number of all processes; if there is one, each reduction returns its argument unchanged."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which writes files and messages for all."""
        return self.rank == 0

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Average tensors over ranks in place, with one flattened reduction for each dtype."""
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            flat = _flatten_dense_tensors(group)
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(group, _unflatten_dense_tensors(flat, group), strict=True):
                tensor.copy_(mean)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` is set on any rank. The reduction runs on the CPU, so it does not wait for a GPU."""
        if self.size == 1:
            return flag
        highest = torch.tensor(int(flag))
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return bool(highest)

    def gather_rows(self, mine: Tensor, sizes: list[int]) -> Tensor:
        """Return the rows of all ranks, in the order of the ranks, on the CPU; rank r has ``sizes[r]`` of them."""
        if self.size == 1:
            return mine
        parts = [mine.new_empty(size, *mine.shape[1:]) for size in sizes]
        parts[self.rank] = mine
        for rank, part in enumerate(parts):
            dist.broadcast(part, src=rank)
        return torch.cat(parts)

    def gather(self, value: T) -> list[T]:
        """Return the picklable ``value`` of every rank, in the order of the ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def run_on_all(self, action: Callable[[], T]) -> T:
        """Run ``action`` on every rank and wait for all; a UserError on one rank is raised on every rank."""
        error: UserError | None = None
        try:
            result = action()
        except UserError as raised:
            error = raised
        if self.any(error is not None):
            first = next(raised for raised in self.gather(error) if raised is not None)
            first.shared = True
            raise first
        return result

    def average_statistics(self, networks: Iterable[nn.Module]) -> None:
        """Average BatchNorm's running statistics over ranks, so that every rank holds the state that is saved.

        SyncBatchNorm already keeps them equal, but it needs a GPU.
        """
        self.mean_(
            buffer
            for network in networks
            for module in network.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
            if module.training  # frozen layers keep their statistics bit for bit
            for buffer in module.buffers(recurse=False)
            if buffer.is_floating_point()
        )


def this_device(local_rank: int = 0) -> torch.device:
    """Return the GPU of a local rank, or the CPU on a machine without GPUs."""
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


def join_world() -> World:
    """Join the process group that torchrun describes in the environment; without torchrun, return a world of one.

    After this call a GPU computes deterministically. On a CPU, this process keeps the memory that it frees.
    """
    size, local_rank = _variable("WORLD_SIZE", 1), _variable("LOCAL_RANK", 0)
    device = this_device(local_rank)
    if device.type == "cuda":
        make_deterministic()
        torch.cuda.set_device(device)
    else:
        keep_memory()
    if size > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=30))
    return World(_variable("RANK", 0), size, device)


def make_deterministic() -> None:
    """Make a GPU add in the same order each time, so that a resumed run has the same bits, and turn TF32 off.

    Call this before CUDA is initialized: cuBLAS reads its environment variable only once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False


def leave_world() -> None:
    """Destroy the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Return whether an error says that another process of this run ended or cannot be reached.

    Such an error can also come before the process group exists, while this process waits for the others.
    """
    several = _variable("WORLD_SIZE", 1) > 1
    return several and (isinstance(error, dist.DistError) or GLOO.search(str(error)) is not None)


def is_port_in_use(error: RuntimeError) -> bool:
    """Return whether an error of torch's store says that another program listens at its port already."""
    return "EADDRINUSE" in str(error)


def exit_at_once(code: int) -> NoReturn:
    """End this process without destroying its process group, which might wait for members that have ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _variable(name: str, default: int) -> int:
    return int(os.environ.get(name, str(default)))
