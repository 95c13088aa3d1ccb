"""Compilation of networks and views: when it is used, what it needs, and how results of CUDA graphs stay valid.

Methods do not depend on it: compiled passes compute the same mathematics with other rounding. Dropout in a compiled
network draws other masks than in an uncompiled one; both are a function of the same seeds.
"""

import logging
import os
import shlex
import shutil
import sysconfig
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from data_prep.system.errors import UsageError
from pipeline.data.augment import View

MAX_GRAPHS = 64
"""The most graphs that one network may be compiled to: each shape, mode, precision and kind of pass needs one."""

COMPILERS = {"cuda": ("CC", ["gcc", "clang"]), "cpu": ("CXX", ["g++"])}
"""The compilers that Triton and inductor call, by device: the environment variable with a name, and default names."""


@dataclass(frozen=True)
class Compiler:
    """Compiles networks and views, or leaves them as they are.

    Args:
        name: ``off``, ``inductor`` (fused kernels) or ``graphs`` (the same, replayed as CUDA graphs).
        missing: what is missing if ``auto`` would otherwise compile this run; empty if nothing is missing.
    """

    name: str = "off"
    missing: str = ""

    @property
    def graphs(self) -> bool:
        return self.name == "graphs"

    def network(self, module: nn.Module) -> nn.Module:
        """Return the compiled form of ``module``, which shares its weights and its mode."""
        if self.name == "off":
            return module
        _prepare()
        options: Any = {"triton.cudagraphs": self.graphs, "deterministic": True}
        return cast("nn.Module", torch.compile(module, dynamic=False, options=options))

    def view(self, view: View, device: torch.device) -> View:
        """Return the compiled view. On a CPU return the view itself, which there runs only the op of each image."""
        return view if self.name == "off" or device.type == "cpu" else CompiledView(view)

    def begin_step(self) -> None:
        """Allow CUDA graphs to reuse the memory of the step before."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def keep(self, result: Tensor) -> Tensor:
        """Return a result that stays valid: a copy if the next replay of a CUDA graph overwrites its memory."""
        return result.clone() if self.graphs else result

    def keep_all(self, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return results that stay valid and have no autograd graph, copied by one kernel."""
        return tuple(torch._foreach_mul(results, 1.0)) if self.graphs else results


class CompiledView:
    """A compiled :class:`View`; its key is passed as a tensor, because a number would be compiled into the graph."""

    def __init__(self, view: View) -> None:
        _prepare()
        self.run: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.compile(
            cast("Callable[[Tensor, Tensor, Tensor], Tensor]", view), fullgraph=True, dynamic=False
        )

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        return self.run(images, torch.full((), key, dtype=torch.int64, device=images.device), samples)


def choose_compiler(wanted: str, device: torch.device, processes: int) -> Compiler:
    """Return the compiler for ``auto``, ``off`` or ``max``.

    ``auto`` compiles on a single GPU only. On a CPU compilation takes minutes. On several GPUs the reductions of BN are
    between the kernels, which has not been tried. Both compile with ``max``. CUDA graphs are used with a single process
    only, for the same reason.

    Args:
        wanted: ``compile`` of the configuration.
        device: the device that computes.
        processes: number of ranks of the run.

    Raises:
        UsageError: ``max`` is wanted, and something that compilation needs is missing.
    """
    gpu = device.type == "cuda"
    if wanted == "off" or (wanted == "auto" and not (gpu and processes == 1)):
        return Compiler()
    if missing := missing_here(device):
        if wanted == "auto":
            return Compiler(missing=missing)
        raise UsageError(f"compile: {wanted} needs {missing}; provide it, or use --compile off")
    return Compiler("graphs" if gpu and wanted == "max" and processes == 1 else "inductor")


def compile_failure(error: BaseException) -> str | None:
    """Return an error of the compiler as one line; None for any other error."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return None
    reason = " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2])
    return f"compile: this network cannot be compiled here ({reason}); use --compile off"


def missing_here(device: torch.device) -> str:
    """Return the first thing that compilation for a device needs and this machine lacks, or an empty text."""
    variable, programs = COMPILERS[device.type]
    names = shlex.split(os.environ[variable])[:1] if variable in os.environ else programs
    header, place = Path(sysconfig.get_path("include")) / "Python.h", tempfile.gettempdir()
    needs = {
        f"a compiler ({' or '.join(names)})": any(shutil.which(name) for name in names),
        f"Python's headers ({header})": header.exists(),
        "the package setuptools": find_spec("setuptools") is not None,
        f"to run what it compiled in {place}, which is mounted noexec": not os.statvfs(place).f_flag & os.ST_NOEXEC,
    }
    return next((need for need, here in needs.items() if not here), "")


def _prepare() -> None:
    import torch._dynamo.config  # noqa: PLC0415  a second
    import torch._functorch.config  # noqa: PLC0415

    torch._dynamo.config.recompile_limit = MAX_GRAPHS
    torch._functorch.config.donated_buffer = False  # the backward pass of a shared graph runs twice
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # fp32 is intended
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns where there is no CUDA
