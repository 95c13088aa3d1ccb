"""The commands ``smpl bench augment``, ``scale``, ``checkpoint``, ``feedback`` and ``peer``."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks.augment import CONTENDERS, DALI, KORNIA, PIL, kornia, torchvision_batched
from benchmarks.child import answer_of
from benchmarks.peer import PEERS, recognize
from benchmarks.scale import run_ranks
from benchmarks.scale_rank import measure as rank
from benchmarks.step_timer import main as step_timer
from data_prep.system.errors import UsageError, UserError
from pipeline.cli import main
from pipeline.config.schema import Config
from tests.pipeline.conftest import ALONE

TINY = ["--batch-size", "2", "--mu", "1", "--width", "1"]


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


def rows_of(*arguments: str) -> list[dict[str, Any]]:
    result = bench(*arguments, "--json")
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def test_augment_names_each_library_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("kornia", "nvidia.dali"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(CONTENDERS, PIL, torchvision_batched)  # starts no processes
    out = tmp_path / "augment.json"
    result = bench("augment", "--batch-size", "2", "--repeats", "1", "--threads", "1", "--out", str(out))
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if "left out" in line]
    assert len(lines) == 2
    assert all(name in line for name, line in zip((KORNIA, DALI), lines, strict=True))
    rows = json.loads(out.read_text())["rows"]
    assert [row["contender"] for row in rows] == [name for name in CONTENDERS if name not in (KORNIA, DALI)]
    assert all(row["images_per_s"] > 0 for row in rows)


def test_kornia_changes_the_pictures_and_keeps_their_shape() -> None:
    pytest.importorskip("kornia")
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    views = next(kornia(images, 1))(0)
    assert isinstance(views, torch.Tensor)
    assert views.shape == images.shape
    assert not views.requires_grad
    assert not torch.equal(views, images / 255)


@pytest.mark.slow
def test_scale_measures_each_number_of_processes_on_the_same_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run with one process takes place in this process, to save its start."""

    def run(config: Config, processes: int, steps: int) -> dict[str, Any]:
        return rank(config.tree(), ALONE, steps, tmp_path) if processes == 1 else run_ranks(config, processes, steps)

    monkeypatch.setattr("benchmarks.scale.run_ranks", run)
    one, two = rows_of("scale", *TINY, "--methods", "uda", "--processes", "2", "--steps", "1", "--turns", "1")
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["efficiency"] == 1
    assert one["reduced_bytes"] == 0 < two["reduced_bytes"]
    for row in (one, two):
        assert row["images_per_s"] == pytest.approx(4000 / row["step_ms"], rel=0.01, abs=0.1)
        assert row.keys() >= {"method", "threads", "precision", "compile"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--processes", "two"], "--processes two"),
        (["--processes", "3"], "batch_size: 32"),
        (["--methods", "mlp"], "did you mean 'mpl'"),
    ],
)
def test_scale_refuses_what_it_cannot_do(arguments: list[str], word: str) -> None:
    result = bench("scale", *arguments)
    assert result.exit_code == 2
    assert word in result.stderr


def test_scale_refuses_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    result = bench("scale", "--processes", "2")
    assert result.exit_code == 2
    assert "this machine has 1 GPU" in result.stderr


@pytest.mark.slow
def test_checkpoint_gives_the_share_of_saving_at_the_recipes_interval(tmp_path: Path) -> None:
    rows = rows_of("checkpoint", *TINY, "--steps", "1", "--repeats", "1", "--folder", str(tmp_path))
    assert [row["method"] for row in rows] == ["mpl", "smpl"]
    mpl, smpl = rows
    assert mpl["state_bytes"] > 1.2 * smpl["state_bytes"]  # another network and its momentum
    for row in rows:
        assert row["save_ms"] > 0
        assert row["load_ms"] > 0
        training = 1000 * row["step_ms"]
        assert row["save_every"] == 1000
        assert row["share"] == pytest.approx(row["save_ms"] / (training + row["save_ms"]), rel=0.01, abs=1e-6)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_checkpoint_wants_a_folder_that_is_there(tmp_path: Path) -> None:
    result = bench("checkpoint", "--folder", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "none" in result.stderr


def checkout_of(name: str, folder: Path) -> Path:
    for file in PEERS[name].files:
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder / name


def test_a_checkout_is_known_by_what_lies_in_it(tmp_path: Path) -> None:
    for name, peer in PEERS.items():
        assert recognize(checkout_of(name, tmp_path)) is peer
    with pytest.raises(UsageError, match=r"none of MPL-pytorch, USB: it lacks for MPL-pytorch main\.py"):
        recognize(tmp_path)


def test_each_loop_of_a_peer_is_measured_beside_ours_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def answer(words: list[str]) -> list[float]:
        asked.append(words)
        return [2.0] if words[0] == "benchmarks.usb_loop" else [0.5]

    monkeypatch.setattr("benchmarks.peer.answer_of", answer)
    out = tmp_path / "peer.json"
    sizes = ["--precisions", "bf16", "--compiles", "off,max", "--turns", "1", "--batch-size", "8", "--mu", "7"]
    result = bench("peer", str(checkout_of("USB", tmp_path)), *sizes, "--out", str(out))
    assert result.exit_code == 0, result.output
    rows = {row["loop"]: row for row in json.loads(out.read_text())["rows"]}
    both = [
        name for kind in ("fixmatch", "uda") for name in (f"USB {kind}", f"{kind}, bf16", f"{kind}, bf16, compile max")
    ]
    assert list(rows) == both
    assert rows["USB uda"] == {"loop": "USB uda", "step_ms": 2000, "images_per_s": 32, "speed": 1}
    assert rows["uda, bf16, compile max"]["speed"] == 4
    assert asked[-1][:6] == ["benchmarks.step_timer", "uda", "--precision", "bf16", "--compile", "max"]


def test_peer_refuses_an_unknown_way_to_compile(tmp_path: Path) -> None:
    result = bench("peer", str(checkout_of("MPL-pytorch", tmp_path)), "--compiles", "fast")
    assert result.exit_code == 2
    assert "--compiles: 'fast'" in result.stderr


def test_the_step_timer_prints_the_seconds_of_its_steps() -> None:
    size = ["--batch-size", "2", "--mu", "1", "--steps", "2", "--precision", "fp32", "--compile", "off"]
    result = CliRunner().invoke(step_timer, ["fixmatch", *size])
    seconds = json.loads(result.stdout)
    assert len(seconds) == 2
    assert all(second > 0 for second in seconds)


def test_a_child_answers_with_its_last_line_or_its_error(tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[1, 2]")
    assert answer_of(["json.tool", "--compact", str(tmp_path / "found.json")]) == [1, 2]
    with pytest.raises(UserError, match=r"^json\.tool .*none\.json ended with \d: .*none\.json"):
        answer_of(["json.tool", str(tmp_path / "none.json")])


@pytest.fixture
def feedback_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that measures the feedback of a short run with settings of the optimizer."""
    monkeypatch.setenv("SMPL_DATA", str(tmp_path / "data"))
    options = ["model.width=4", "mpl.student_wait=1", "optimizer.warmup=0", "optimizer.clip=null"]
    options += ["optimizer.weight_decay=0.0"]

    def measure(steps: int, *settings: str) -> dict[str, Any]:
        short = ["--seeds", "1", "--steps", str(steps), *(f"--set={option}" for option in (*options, *settings))]
        (row,) = rows_of("feedback", *short)
        return row

    return measure


def test_under_plain_descent_h_is_that_of_the_step_s_own_gradient(feedback_rows: Callable[..., dict[str, Any]]) -> None:
    row = feedback_rows(3, "optimizer.momentum=0.0")
    assert (row["plain"], row["this_step"]) == pytest.approx((row["h"], row["h"]), rel=1e-3)
    assert row["earlier_share"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("clip", ["null", "0.1"])
@pytest.mark.parametrize("nesterov", ["true", "false"])
def test_in_the_first_step_no_part_of_h_is_of_earlier_steps(
    feedback_rows: Callable[..., dict[str, Any]], nesterov: str, clip: str
) -> None:
    row = feedback_rows(1, f"optimizer.nesterov={nesterov}", f"optimizer.clip={clip}")
    assert row["this_step"] == pytest.approx(row["h"], rel=1e-3)
    assert (row["plain"] == pytest.approx(row["h"], rel=1e-3)) == (nesterov == "false" and clip == "null")


def test_later_steps_add_the_momentum_of_earlier_ones(feedback_rows: Callable[..., dict[str, Any]]) -> None:
    assert abs(feedback_rows(4)["earlier_share"]) > 0.05


def test_without_a_meta_term_there_is_no_feedback_to_measure() -> None:
    result = bench("feedback", "--set", "mpl.weight=0")
    assert result.exit_code == 2
    assert "mpl.weight=0 switches the meta term off" in result.stderr
