"""docs/performance.md agrees with the saved results."""

import json
from pathlib import Path

import pytest

from benchmarks.page import PAGE, page, table
from tests import ROOT


def test_the_page_is_made_of_the_results() -> None:
    assert (ROOT / PAGE).read_text() == page()


def test_only_while_no_machine_had_a_gpu_does_it_say_so(tmp_path: Path) -> None:
    for name, gpu in {"a-cpu": None, "b-gpu": "a GPU"}.items():
        record = {"command": "smpl bench step", "commit": "0", "machine": {"cpus": 2, "gpu": gpu}, "rows": []}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
        assert ("Nothing here was measured on a GPU" in page(tmp_path)) == (gpu is None)
    assert "gpu a GPU" in page(tmp_path)


@pytest.mark.parametrize(("ending", "said"), [("done", False), ("cut", True), ("running", True)])
def test_a_result_that_is_not_complete_says_so(ending: str, said: bool, tmp_path: Path) -> None:
    record = {"command": "smpl bench step", "commit": "0", "machine": {"cpus": 2}, "ending": ending, "rows": []}
    (tmp_path / "gpu-steps.json").write_text(json.dumps(record))
    assert (f"not complete: {ending}" in page(tmp_path)) == said


def test_a_table_formats_numbers_sizes_fractions_and_truth_values() -> None:
    row = {"method": "mpl", "peak_bytes": 3 * 2**29, "data_wait": 0.0123, "met": True, "spread": [1.5, 2500.0]}
    head, _, line = table([row, {}]).splitlines()[:3]
    assert head == "| method | peak MiB | data_wait | met | spread |"
    assert line == "| mpl | 1,536 | 1.23 % | yes | 1.5 to 2,500 |"
