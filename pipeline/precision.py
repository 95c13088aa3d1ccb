"""Number formats: which one a device runs well, and what each needs."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from data_prep.system.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """Forward passes run under autocast to ``dtype``; weights, BN and losses stay as they are (fp32)."""

    name: str
    device: torch.device
    dtype: torch.dtype | None = None

    @property
    def scaled(self) -> bool:
        """Whether gradients need loss scaling: only the five exponent bits of fp16 do."""
        return self.dtype is torch.float16

    def autocast(self) -> AbstractContextManager[object]:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Resolve ``auto`` to bf16 where the hardware computes in it, else fp32; refuse fp16 on a CPU."""
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
