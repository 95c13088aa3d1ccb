"""Laws 1 and 2 for compiled networks, and when networks are compiled."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.system.errors import UsageError
from pipeline.training import compilation
from pipeline.training.compilation import Compiler, choose_compiler, compile_failure
from pipeline.training.trainer import Trainer
from tests.limits import LIMIT_S
from tests.pipeline.conftest import ALONE, CPU, assert_same, weights_of
from tests.pipeline.distributed.test_world import FAST, LINEAR, METHODS, assert_close, load
from tests.pipeline.rank_worker import train_case

GPU = torch.device("cuda")
MAX = {"model": LINEAR, "compile": "max"}
NORMED = {"compile": "max", "precision": "bf16", "model": {"name": "small_conv", "width": 4, "dropout": 0.3}}

needs_compiler = pytest.mark.skipif(
    bool(compilation.missing_here(CPU)), reason="needs a C++ compiler and Python's headers"
)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train all cases, compiled, on two gloo processes; return the folder of their states."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "cases.json").write_text(json.dumps({name: settings | MAX for name, settings in METHODS.items()}))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    worker = ["-m", "tests.pipeline.rank_worker", str(folder / "cases.json"), str(folder)]
    subprocess.run([*launcher, *worker], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=LIMIT_S)
    return folder


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", METHODS)
def test_compiled_equals_plain_equals_accumulation_equals_two_processes(
    two_ranks: Path, tmp_path: Path, name: str
) -> None:
    settings = METHODS[name] | MAX
    plain = train_case(settings | {"compile": "off"}, ALONE, tmp_path / "plain")
    whole = train_case(settings, ALONE, tmp_path / "whole")
    halves = train_case(settings | {"accumulate": 2}, ALONE, tmp_path / "halves")
    for other in (whole, halves, load(two_ranks, name, 0)):
        assert_close(plain["weights"], other["weights"])


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", ["uda-separate", "mpl", "metasemi", "smpl-recompute", "smpl-shared"])
def test_a_compiled_run_that_is_resumed_equals_the_undisturbed_one_bit_for_bit(
    make_trainer: Callable[..., Trainer], name: str
) -> None:
    settings = METHODS[name] | NORMED | {"save_every": 100, "eval_every": 100}
    undisturbed, first = make_trainer(out="undisturbed", **settings), make_trainer(out="resumed", **settings)
    assert undisturbed.networks[next(iter(undisturbed.networks))].compiler.name == "inductor"
    undisturbed.train()
    first.train(until=3)
    first.save()
    torch._dynamo.reset()  # as in another process, all is compiled again
    second = make_trainer(out="resumed", **settings)
    second.restore()
    second.train()
    assert_same(weights_of(undisturbed), weights_of(second))


@pytest.mark.slow
@needs_compiler
def test_a_compiled_network_with_frozen_weights_equals_the_plain_one(tmp_path: Path) -> None:
    plain, compiled = (train_case(FAST | {"compile": wanted}, ALONE, tmp_path / wanted) for wanted in ("off", "max"))
    assert_close(plain["weights"], compiled["weights"])


@pytest.mark.slow
@needs_compiler
def test_a_compiled_maximum_in_bf16_has_a_finite_gradient(make_trainer: Callable[..., Trainer]) -> None:
    """The trainer checks every gradient; the compiler fuses GELU, which it computes in fp32, with the maximum."""
    make_trainer(compile="max", precision="bf16", **FAST).train()


@needs_compiler
def test_what_is_compiled_keeps_no_names_or_weights_of_its_own(make_trainer: Callable[..., Trainer]) -> None:
    plain, compiled = make_trainer(out="plain"), make_trainer(out="compiled", compile="max")
    assert_same(weights_of(plain), weights_of(compiled))
    network = compiled.networks["model"]
    shared = zip(network.compiled.parameters(), network.module.parameters(), strict=True)
    assert all(mine is theirs for mine, theirs in shared)


def test_auto_compiles_on_a_gpu_and_max_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "missing_here", lambda device: "")
    for wanted, device, processes, name in [
        *(("off", GPU, 1, "off"), ("auto", CPU, 1, "off"), ("max", CPU, 2, "inductor")),
        *(("auto", GPU, 1, "inductor"), ("max", GPU, 1, "graphs")),
        *(("auto", GPU, 2, "off"), ("max", GPU, 2, "inductor")),
    ]:
        assert choose_compiler(wanted, device, processes) == Compiler(name)


def test_without_a_compiler_auto_is_off_and_max_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    assert choose_compiler("auto", GPU, 1) == Compiler(missing="a compiler (gcc or clang)")
    with pytest.raises(UsageError, match=r"compile: max needs a compiler .*--compile off"):
        choose_compiler("max", GPU, 1)


def test_a_compiler_is_what_the_variable_names_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"{shutil.which('true')} --an-argument")
    assert "compiler" not in compilation.missing_here(CPU)
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    assert compilation.missing_here(CPU) == "a compiler (no-such-compiler)"


def test_an_error_of_the_compiler_is_distinguished_from_others() -> None:
    def refuse(graph: Any, inputs: Any) -> Any:
        raise ValueError("no such op")

    with pytest.raises(RuntimeError) as caught:
        torch.compile(torch.nn.Linear(2, 2), backend=refuse)(torch.zeros(1, 2))
    assert "no such op" in str(compile_failure(caught.value))
    assert "--compile off" in str(compile_failure(caught.value))
    assert compile_failure(RuntimeError("size mismatch")) is None
