"""Numbers of labels per class, from a recipe or the command line to the run folder."""

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError
from pipeline.config.data_set import DataSet, default_folder, resolve_data
from pipeline.config.recipes import load_recipe
from pipeline.config.resolve import resolve
from pipeline.train import main
from pipeline.yaml_text import parse_mapping, parse_value
from tests.data_prep.trees import names_of, write


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMPL_DATA", raising=False)


def resolved(**data: Any) -> Any:
    config = resolve(load_recipe("moons") | {"data": data}, {})
    return resolve_data(config, DataSet()).data


@pytest.mark.parametrize(("text", "value"), [("6", 6), ("5+1", "5+1"), ("05+1", "5+1"), ("null", None)])
def test_labels_are_a_number_or_numbers_in_a_recipe(text: str, value: object) -> None:
    tree = parse_mapping(f"data: {{labels: {text}}}", "recipe")
    config = resolve(tree, {})
    assert config.data.labels == value
    assert resolve(config.tree(), {}) == config
    assert resolve({}, {"data": {"labels": parse_value(text)}}) == config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value"),
    [("flip", True), ("pad", 1), ("ops", 2), ("cutout", 1), ("size", 8), ("policy", "autoaugment-svhn")],
)
def test_views_of_pictures_are_refused_for_points(key: str, value: object) -> None:
    recipe = load_recipe("moons")
    config = resolve(recipe | {"augment": recipe["augment"] | {key: value}}, {})
    with pytest.raises(UsageError, match=f"augment.(ops|{key}): {value} is for pictures, moons has points"):
        resolve_data(config, DataSet())


@pytest.mark.parametrize("value", ["5+", "many", "5.0", 5.0, True, [5, 1]])
def test_wrong_labels_are_refused_in_one_line_that_names_the_key(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        resolve({}, {"data": {"labels": value}})
    problem = "is neither a number of images, one for each class (5+1), nor a part (10%)"
    assert str(caught.value) == f"command line: data.labels: {value!r} {problem}"


@pytest.mark.slow
def test_a_set_is_prepared_with_labels_per_class_and_found_again() -> None:
    assert resolved(labels="5+1").labels == "5+1"
    assert Path("data/moons-5+1-seed0/manifest.json").exists()
    assert resolved(labels="5+1").labels == "5+1"
    assert resolved().labels == 6
    assert default_folder(resolve({"dataset": "moons", "data": {"labels": "5+1"}}, {})) == Path("data/moons-5+1-seed0")


def test_a_named_folder_with_other_labels_is_refused() -> None:
    prepare(PrepareRequest("moons", out=Path("mine"), labels=6))
    config = resolve({"dataset": "moons"}, {})
    with pytest.raises(UsageError, match=r"data\.labels: 5\+1 is requested, mine has 6"):
        resolve_data(config, DataSet(Path("mine"), {"labels": "5+1"}))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("5+", "'--labels': '5+' is neither"),
        ("5+1", "--labels 5+1: 2 numbers for 10 classes"),
        ("0" + "+1" * 9, "--labels 0+1+1+1+1+1+1+1+1+1: every class needs at least 1"),
        ("200" + "+1" * 9, "need 210 images of class '0', which has 138; the nearest valid choice is --labels 128+1"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(labels: str, message: str) -> None:
    result = CliRunner().invoke(main, ["--dataset", "digits", "--labels", labels])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("runs").exists()


def test_a_source_that_is_named_is_the_one_that_is_trained_on() -> None:
    config = resolve(load_recipe("folder-smpl"), {})
    for name, start in {"first": 0, "second": 50}.items():
        write(Path(name), names_of("cat", "dog", count=20 + start), start)
    for name in ("first", "first", "second"):
        resolve_data(config, DataSet(source=Path(name)))
    assert {path.name for path in Path("data").iterdir()} == {"first-10pct-seed0", "second-10pct-seed0"}
    mine = Path("mine")
    resolve_data(config, DataSet(mine, source=Path("first")))
    resolve_data(config, DataSet(mine, source=Path("first")))
    resolve_data(config, DataSet(mine))
    for source in ("second", "nothing"):
        with pytest.raises(UsageError, match=r"source listing|does not exist"):
            resolve_data(config, DataSet(mine, source=Path(source)))


def test_raw_images_are_not_taken_for_a_prepared_set() -> None:
    write(Path("photos"), names_of("cat", "dog", count=3))
    with pytest.raises(
        UsageError, match=r"photos holds images, not a prepared set; train on them with --source photos"
    ):
        resolve_data(resolve(load_recipe("folder-smpl"), {}), DataSet(Path("photos")))


@pytest.mark.parametrize("words", [["--source", "."], ["--source", ".", "--out", "../run"], ["--source", "../photos"]])
def test_nothing_is_written_into_the_folder_of_the_user_s_images(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Path("photos"), names_of("cat", "dog", count=20))
    monkeypatch.chdir("photos")
    monkeypatch.delenv("SMPL_DATA", raising=False)
    result = CliRunner().invoke(main, ["--dataset", "folder", *words])
    assert result.exit_code == 2
    assert "is inside of --source" in result.stderr
    assert {path.name for path in Path().iterdir()} == {"cat", "dog"}


@pytest.mark.slow
def test_a_stream_checks_its_shards_when_loader_verify_says() -> None:
    arguments = ["--recipe", "digits-smpl", "--method", "supervised", "--steps", "1", "--loader", "webdataset"]
    whole = CliRunner().invoke(main, [*arguments, "--out", "whole"])
    assert whole.exit_code == 0, whole.output
    shard = next(Path("data/digits-20-seed0").glob("test-*.tar"))
    state, content = shard.stat(), shard.read_bytes()
    shard.write_bytes(content[:-1] + b"x")  # in the padding: no reader minds
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns))
    for verify, code in {"always": 3, "once": 0, "never": 0}.items():
        result = CliRunner().invoke(main, [*arguments, "--out", verify, "--verify", verify])
        assert result.exit_code == code, result.output
        assert ("sha256" in result.stderr) == (code == 3)
