"""Compiled networks and views: where they pay, what they need, and what CUDA graphs ask of the rest.

A method and its laws know nothing of it: passes give the same mathematics, with other rounding. A compiled network's
dropout draws other masks than a plain one's; they are a function of the same seeds.
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

VARIANTS = 64
"""Graphs that one network may be compiled to: each shape, mode, precision and kind of pass has its own."""

PROGRAMS = {"cuda": ("CC", ["gcc", "clang"]), "cpu": ("CXX", ["g++"])}
"""What Triton calls to build its launcher, and inductor a CPU's kernels: a variable that names it, else these names."""


@dataclass(frozen=True)
class Compiler:
    """What is done to networks and views.

    Args:
        name: ``off``; ``inductor``, fused kernels; or ``graphs``, those replayed as CUDA graphs.
        missing: what would be needed and is not here, for a run that would else be compiled.
    """

    name: str = "off"
    missing: str = ""

    @property
    def graphs(self) -> bool:
        return self.name == "graphs"

    def network(self, module: nn.Module) -> nn.Module:
        """Return what runs the passes of ``module``, with its weights and in its mode."""
        if self.name == "off":
            return module
        _prepare()
        options: Any = {"triton.cudagraphs": self.graphs, "deterministic": True}
        return cast("nn.Module", torch.compile(module, dynamic=False, options=options))

    def view(self, view: View, device: torch.device) -> View:
        """Return a view in one graph. A CPU's takes each image through its own op alone, which is faster than that."""
        return view if self.name == "off" or device.type == "cpu" else CompiledView(view)

    def begin_step(self) -> None:
        """Let the graphs' memory of the step before be used again."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()

    def kept(self, result: Tensor) -> Tensor:
        """Return a result to hold on to: what a CUDA graph gives lies in memory that its next replay writes to."""
        return result.clone() if self.graphs else result

    def all_kept(self, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return results without a graph to hold on to, copied by one kernel."""
        return tuple(torch._foreach_mul(results, 1.0)) if self.graphs else results


class CompiledView:
    """A :class:`View` whose key is a tensor, since the graph of a number would be compiled for that number."""

    def __init__(self, view: View) -> None:
        _prepare()
        self.run: Callable[[Tensor, Tensor, Tensor], Tensor] = torch.compile(
            cast("Callable[[Tensor, Tensor, Tensor], Tensor]", view), fullgraph=True, dynamic=False
        )

    def __call__(self, images: Tensor, key: int, samples: Tensor) -> Tensor:
        return self.run(images, torch.full((), key, dtype=torch.int64, device=images.device), samples)


def choose_compiler(wanted: str, device: torch.device, processes: int) -> Compiler:
    """Resolve ``auto``, ``off`` or ``max``.

    The kernels of a single GPU are compiled by default; a CPU's take minutes to compile, so they are on demand. So are
    those of several GPUs: the reductions of their BN lie between the kernels, which nobody has tried. For the same
    reason CUDA graphs are for one process.

    Raises:
        UsageError: ``max`` without what compiling needs.
    """
    gpu = device.type == "cuda"
    if wanted == "off" or (wanted == "auto" and not (gpu and processes == 1)):
        return Compiler()
    if missing := missing_here(device):
        if wanted == "auto":
            return Compiler(missing=missing)
        raise UsageError(f"compile: {wanted} needs {missing}; see to it, or take --compile off")
    return Compiler("graphs" if gpu and wanted == "max" and processes == 1 else "inductor")


def compile_failure(error: BaseException) -> str | None:
    """Return what compiling failed of, in one line; None for an error of another kind."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return None
    reason = " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2])
    return f"compile: this network cannot be compiled here ({reason}); take --compile off"


def missing_here(device: torch.device) -> str:
    """Return what compiling for a device needs and is not here, or nothing."""
    variable, programs = PROGRAMS[device.type]
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

    torch._dynamo.config.recompile_limit = VARIANTS
    torch._functorch.config.donated_buffer = False  # a shared graph is gone back through twice
    warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # fp32 is meant
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of CUDA where there is none
