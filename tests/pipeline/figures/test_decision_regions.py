from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from pipeline.cli import main
from pipeline.figures.decision_regions import probability_of_class_1
from tests.pipeline.comparison.test_compare import in_a_folder_of_its_own

__all__ = ["in_a_folder_of_its_own"]


TINY = ["--out", "table", "--seeds", "1", "--steps", "3", "--set", "mu=4"]


def regions(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["regions", "table", "--data-dir", "data/moons-6-seed0", *arguments])


def refusal(*arguments: str) -> str:
    """Return the line that a command is refused with."""
    result = regions(*arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.mark.slow
def test_a_table_gets_a_panel_for_each_row_on_the_data_of_its_runs() -> None:
    run = ["compare", "--recipe", "moons", *TINY]
    assert CliRunner().invoke(main, [*run, "--methods", "supervised,smpl"]).exit_code == 0
    result = regions("--out", "a/b.png")
    assert result.exit_code == 0, result.output
    assert "2 rows: a/b.png" in result.stdout
    assert Path("a/b.png").stat().st_size > 10_000
    assert "2 rows: a/c.png" in regions("--out", "a/c").stdout
    assert Path("a/c.png").stat().st_size > 10_000

    prepare(PrepareRequest("moons", out=Path("other-labels"), seed=1))
    line = refusal("--data-dir", "other-labels")
    assert "row 'smpl' was trained on data" in line
    assert load_manifest(Path("other-labels")).fingerprint[:12] in line

    Path("table/smpl/seed0/summary.json").unlink()
    assert "table/smpl/seed0 has not finished" in refusal()


@pytest.mark.slow
def test_a_table_of_runs_on_images_is_refused() -> None:
    prepare(PrepareRequest("moons", out=Path("data/moons-6-seed0")))
    run = ["compare", "--dataset", "digits", *TINY, "--methods", "supervised", "--set", "batch_size=4"]
    assert CliRunner().invoke(main, run).exit_code == 0
    assert "table/supervised/seed0 was not trained on points of the plane" in refusal()


def test_a_file_that_cannot_hold_a_picture_is_refused_before_the_work() -> None:
    assert "--out r.xyz: pictures cannot be written as 'xyz'; choose from" in refusal("--out", "r.xyz")
    Path("folder.png").mkdir()
    assert "--out folder.png is a folder; name a file, such as folder.png/regions.png" in refusal("--out", "folder.png")


def test_the_field_is_the_model_s_probability_in_the_order_of_the_points() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
    x, y = torch.meshgrid(torch.linspace(-1, 1, 3), torch.linspace(0, 4, 5), indexing="xy")
    field = torch.from_numpy(probability_of_class_1(model, x.numpy(), y.numpy()))
    for row, column in [(0, 0), (4, 2), (1, 2)]:
        point = torch.tensor([[x[row, column], y[row, column]]])
        assert field[row, column].item() == pytest.approx(model(point).softmax(1)[0, 1].item())


@pytest.mark.parametrize(("table", "message"), [("nowhere", "holds no finished run of seed 0")])
def test_a_folder_without_runs_is_refused(table: str, message: str) -> None:
    result = CliRunner().invoke(main, ["regions", table, "--data-dir", "data"])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_set_of_images_is_refused(tmp_path: Path) -> None:
    prepare(PrepareRequest("digits", out=tmp_path / "digits"))
    run = Path("table/supervised/seed0/model.safetensors")
    run.parent.mkdir(parents=True)
    run.touch()
    result = CliRunner().invoke(main, ["regions", "table", "--data-dir", str(tmp_path / "digits")])
    assert result.exit_code == 2
    assert "not points of the plane" in result.stderr
