"""Number formats of the forward pass: which one is chosen for a device, and what each needs."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from data_prep.system.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """The number format of forward passes; weights, batch normalization and losses stay in fp32."""

    name: str
    """``fp32``, ``bf16`` or ``fp16``."""
    device: torch.device
    dtype: torch.dtype | None = None
    """The type to which autocast casts; None for passes without autocast."""

    @property
    def scaled(self) -> bool:
        """Whether gradients need loss scaling: only fp16 does, with its five exponent bits."""
        return self.dtype is torch.float16

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the precision called ``name``; ``auto`` is bf16 if the hardware computes in it, else fp32.

    Raises:
        UsageError: fp16 on a CPU.
    """
    if name == "auto":
        name = "bf16" if _has_bf16(device) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise UsageError("precision: fp16 has no fast kernels on a CPU (a minute a step); use bf16 or fp32")
    return Precision(name, device, {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name])


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = Path("/proc/cpuinfo")
    words = set(flags.read_text().split()) if flags.exists() else set()
    return bool(words & {"amx_bf16", "avx512_bf16"})
