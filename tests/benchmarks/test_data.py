"""``smpl bench data`` and ``smpl bench prepare``: all contenders do the same work, and missing libraries are named."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from benchmarks.data import KINDS, contests
from benchmarks.loaders import OTHER_LOADERS, our_loader
from benchmarks.resource_usage import INTERVAL_S, cpu_seconds, run_measured
from benchmarks.synthetic_images import PHOTO_SIZES, draw_photo, write_image_files
from benchmarks.workload import Workload, load_workload, make_prepared_set
from data_prep.system.errors import UsageError, UserError
from pipeline.cli import main
from tests.pipeline.conftest import ALONE, CPU

SMALLER = ((60, 45), (45, 60))
ENGINES = ("resident", "webdataset", "dali")
EXPECTED = {
    "small, weak": ["smpl resident", "smpl webdataset", "smpl dali", "torchvision + Pillow"],
    "small, weak and strong": ["smpl resident", "smpl webdataset", "smpl dali", "torchvision + Pillow"],
    "small, training": ["smpl resident", "smpl webdataset", "smpl dali"],
    "large, one crop": ["smpl webdataset", "smpl dali", *OTHER_LOADERS],
    "large, two crops": ["smpl webdataset", "smpl dali", *OTHER_LOADERS],
    "large, training": ["smpl webdataset", "smpl dali"],
}


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workload]:
    """Return a function from ``small`` or ``large`` to its workload; each set is prepared once."""
    made: dict[str, Workload] = {}

    def get(name: str) -> Workload:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("benchmarks.workload.PHOTO_SIZES", SMALLER)
                prepared = make_prepared_set(folder, 80, 1, small=name == "small")
            made[name] = load_workload(prepared, folder / "files", 80, 8, 1, CPU)
        return made[name]

    return get


def need_all() -> None:
    """Skip a test of all loaders if one of them is not installed."""
    for library in ("webdataset", "nvidia.dali"):
        pytest.importorskip(library)


def rows_of(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(main, ["bench", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_data_gives_a_rate_for_every_contender_of_every_work(
    name: str, workload: Callable[[str], Workload], tmp_path: Path
) -> None:
    need_all()
    small = ["--batch-size", "8", "--workers", "1", "--repeats", "1", "--seconds", "0.001"]
    out = tmp_path / "data.json"
    rows = rows_of("data", "--data-dir", str(workload(name).folder), *small, "--out", str(out))
    found = {
        work: [row["contender"] for row in rows if row["work"] == work] for work in dict.fromkeys(map(work_of, rows))
    }
    assert found == {work: names for work, names in EXPECTED.items() if work.startswith(name)}
    assert all(row["images_per_s"] > 0 and row["images"] > 0 and row["seconds"] > 0 for row in rows)
    assert all(0 <= row["data_wait"] <= 1 for row in rows if row["work"].endswith("training"))
    assert {"to_best", "spread"} <= rows[0].keys()
    assert json.loads(out.read_text())["rows"] == rows


def work_of(row: dict[str, Any]) -> str:
    return row["work"]


@pytest.mark.slow
@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_all_contenders_give_batches_of_one_shape_and_type(
    name: str, two: bool, workload: Callable[[str], Workload]
) -> None:
    need_all()
    work, kind = replace(workload(name), two=two), KINDS[name]
    side = 32 if name == "small" else 224
    loaders = [our_loader(engine) for engine in kind.engines] + [OTHER_LOADERS[other] for other in kind.others]
    for loader in loaders:
        with closing(loader(work)) as batches:
            for views in islice(batches, 2):
                assert [view.shape for view in views] == [(8, 3, side, side)] * (1 + two)
                assert {view.dtype for view in views} == {torch.uint8}


def test_the_files_of_the_others_are_the_bytes_of_the_split(workload: Callable[[str], Workload]) -> None:
    work = workload("large")
    from data_prep.formats.webdataset.reader import open_tars

    store = open_tars(work.folder, work.manifest, "unlabeled")
    stored = {(sample.name, str(sample.label)): sample.image for sample in map(store.read, range(len(store)))}
    files = {
        (path.name, path.parent.name.removeprefix("class")): path.read_bytes() for path in work.files.rglob("*.jpg")
    }
    assert files == stored


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("webdataset", {"webdataset + Pillow", "webdataset + torchvision"}),
        ("nvidia.dali", {"DALI", "smpl dali"}),
    ],
)
def test_a_library_that_is_not_installed_is_named_in_its_row(
    module: str, names: set[str], workload: Callable[[str], Workload], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.data import Turn, _line, measure

    need_all()
    monkeypatch.setitem(sys.modules, module, None)
    contest = dict.fromkeys(
        contests(workload("large"), ALONE)["large, one crop"], lambda seconds: Turn(8, seconds, 0.1)
    )
    rows = measure(contest, 1, 1.0)
    assert {row["contender"]: row["missing"] for row in rows if "missing" in row} == dict.fromkeys(
        names, f"not installed: {module}"
    )
    assert all(module in _line({"work": "large"} | row) for row in rows if "missing" in row)
    assert all(row["images_per_s"] == 8 for row in rows if "missing" not in row)


def test_points_and_tiny_images_are_refused(tmp_path: Path) -> None:
    from data_prep.prepare.options import PrepareRequest
    from data_prep.prepare.run import prepare

    prepare(PrepareRequest("digits", out=tmp_path / "digits"))
    with pytest.raises(UsageError, match="color images of 32 pixels"):
        load_workload(tmp_path / "digits", tmp_path / "files", 10, 8, 1, CPU)


@pytest.mark.slow
def test_prepare_gives_a_rate_and_the_memory_of_every_contender(tmp_path: Path) -> None:
    out = tmp_path / "prepare.json"
    small = ["--images", "80,90", "--distinct", "4", "--workers", "1", "--repeats", "1"]
    rows = rows_of("prepare", *small, "--out", str(out))
    one = [
        ("resize", "smpl-data prepare"),
        ("resize", "Pillow: decode, resize, encode"),
        ("keep", "smpl-data prepare"),
        ("keep", "Pillow: decode, encode"),
        ("keep", "Pillow: decode"),
    ]
    assert [(row["work"], row["contender"]) for row in rows] == one * 2
    assert [row["images"] for row in rows] == [80] * 5 + [90] * 5
    assert all(row["images_per_s"] > 0 and row["peak_mb"] > 5 and row["cpu_ms_per_image"] > 0 for row in rows)
    assert [row["prepare_ratio"] for row in rows if row["contender"] == "smpl-data prepare"] == [1] * 4
    assert json.loads(out.read_text())["rows"] == rows


@pytest.mark.parametrize("arguments", [["--images", "many"], ["--works", "sort"]])
def test_prepare_refuses_what_it_cannot_read(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["bench", "prepare", *arguments])
    assert result.exit_code == 2
    assert arguments[1] in result.stderr


def test_photographs_compress_as_such_and_links_do_not_add_bytes(tmp_path: Path) -> None:
    write_image_files(tmp_path, 7, PHOTO_SIZES, distinct=3)
    files = sorted(tmp_path.rglob("*.jpg"), key=lambda path: path.name)
    assert len(files) == 7
    assert len({path.stat().st_ino for path in files}) == 3
    assert all(30_000 < path.stat().st_size < 100_000 for path in files)
    assert set(map(size_of, files)) == set(PHOTO_SIZES)
    assert (np.asarray(draw_photo(1, (60, 45))) == np.asarray(draw_photo(1, (60, 45)))).all()


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_a_command_is_measured_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child holds 50 MB until its memory has been read."""
    held, read = tmp_path / "held", tmp_path / "read"
    readings: list[bool] = [False]
    wait = subprocess.Popen.wait

    def after_a_reading(process: "subprocess.Popen[str]", timeout: float | None = None) -> int:
        if readings[-1]:
            read.touch()
        readings.append(held.exists())
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", after_a_reading)
    child = f"x = b'x' * 50_000_000; import pathlib; pathlib.Path({str(held)!r}).touch()\n"
    child += f"while not pathlib.Path({str(read)!r}).exists(): pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    started = time.perf_counter()
    usage = run_measured([sys.executable, "-c", parent])
    assert usage.peak_bytes > 60_000_000
    assert INTERVAL_S <= usage.seconds <= time.perf_counter() - started
    assert usage.cpu_seconds > 0


def test_a_failing_command_is_reported_with_its_own_error() -> None:
    with pytest.raises(UserError, match="no such thing"):
        run_measured([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_the_processor_time_of_a_process_is_counted_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        child.wait()
        assert cpu_seconds(child.pid) == 0
    assert cpu_seconds(os.getpid()) > 0
