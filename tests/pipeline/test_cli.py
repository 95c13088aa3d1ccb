import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from benchmarks.step import CASES
from pipeline.cli import COMMANDS, main


def test_every_command_of_the_group_loads() -> None:
    runner = CliRunner()
    assert all(name in runner.invoke(main, ["--help"]).stdout for name in COMMANDS)
    for name in COMMANDS:
        assert runner.invoke(main, [name, "--help"]).exit_code == 0, name


def test_the_group_does_not_import_torch_before_it_must() -> None:
    code = "import sys, pipeline.cli; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


def test_bench_step_gives_a_row_for_each_method_as_json(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    arguments = ["bench", "step", "--json", "--batch-size", "2", "--mu", "1", "--width", "1", "--repeats", "1"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["method"] for row in rows] == list(CASES)
    assert all({"step_ms", "bare_ms", "ratio", "augment_images_per_s"} <= row.keys() for row in rows)
    record = json.loads(out.read_text())
    assert record["rows"] == rows
    assert {"command", "commit", "machine"} <= record.keys()
