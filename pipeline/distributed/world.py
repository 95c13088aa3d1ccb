"""The world: this process's rank, its device, and the reductions that make local values global."""

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
"""How the text of gloo's errors names its source; they have no type of their own."""


@dataclass(frozen=True)
class World:
    """Where this process stands. ``size`` 1 needs no process group: every reduction is then the identity."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        return self.rank == 0

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Average tensors over ranks in place, in one flattened reduction for each dtype."""
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
        """Return whether ``flag`` is set on any rank; goes through the CPU's group, so a GPU is not waited for."""
        if self.size == 1:
            return flag
        raised = torch.tensor(int(flag))
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised)

    def gather_rows(self, mine: Tensor, sizes: list[int]) -> Tensor:
        """Return every rank's rows, of which rank r has ``sizes[r]``, in the order of the ranks; on the CPU."""
        if self.size == 1:
            return mine
        parts = [mine.new_empty(size, *mine.shape[1:]) for size in sizes]
        parts[self.rank] = mine
        for rank, part in enumerate(parts):
            dist.broadcast(part, src=rank)
        return torch.cat(parts)

    def gather(self, value: T) -> list[T]:
        """Return every rank's ``value``, a plain picklable object, in the order of the ranks."""
        if self.size == 1:
            return [value]
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, value)
        return everyone

    def together(self, action: Callable[[], T]) -> T:
        """Run ``action`` on every rank and wait for all; a UserError on one of them is raised on each."""
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
        """Average BN's running statistics over ranks, so that every rank holds the state that is saved.

        SyncBatchNorm keeps them equal by itself; BatchNorm, the CPU's only choice, does not.
        """
        self.mean_(
            buffer
            for network in networks
            for module in network.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm)
            if module.training  # frozen layers keep theirs, bit for bit
            for buffer in module.buffers(recurse=False)
            if buffer.is_floating_point()
        )


def this_device(local_rank: int = 0) -> torch.device:
    """Return the GPU of a rank on this machine, or the CPU where there is none."""
    return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")


def join_world() -> World:
    """Join the process group that torchrun describes in the environment, or be a world of one.

    On a CPU this process keeps the memory that it frees from now on; a GPU repeats itself from now on.
    """
    size, local_rank = _variable("WORLD_SIZE", 1), _variable("LOCAL_RANK", 0)
    device = this_device(local_rank)
    if device.type == "cuda":
        repeat_sums()
        torch.cuda.set_device(device)
    else:
        keep_memory()
    if size > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=30))
    return World(_variable("RANK", 0), size, device)


def repeat_sums() -> None:
    """Let a GPU add up in the same order each time, so that a resumed run has the same bits; and let fp32 be no TF32.

    Before CUDA begins: cuBLAS reads its variable once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False


def leave_world() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def lost_contact(error: RuntimeError) -> bool:
    """Return whether an error says that another process of this world is gone, or cannot be reached.

    It may come before there is a process group, while the others are waited for.
    """
    several = _variable("WORLD_SIZE", 1) > 1
    return several and (isinstance(error, dist.DistError) or GLOO.search(str(error)) is not None)


def abandon_world(code: int) -> NoReturn:
    """End this process at once: a group whose members are gone may wait for them when it is taken down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _variable(name: str, default: int) -> int:
    return int(os.environ.get(name, str(default)))
