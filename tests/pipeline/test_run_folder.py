"""The files of a run folder: what is written is read back, and what is missing or damaged is one clear line."""

import json
from pathlib import Path

import pytest

from data_prep.system.errors import DataError, UsageError
from pipeline.run_folder import REPORTED_WEIGHTS, MissingFileError, RunFolder, Summary

SUMMARY = Summary(
    dataset="digits",
    method="smpl",
    seed=0,
    labels=20,
    steps=6,
    results={REPORTED_WEIGHTS: {"test": {"accuracy": 87.5, "loss": float("nan")}}},
    best_step=None,
    config="a",
    data="b",
    processes=1,
    device="cpu",
    precision="fp32",
    compile="off",
    loader="resident",
    parameters={"model": 7},
    seconds_of_last_session=1.5,
    minutes_of_last_session=0.1,
)


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_config({"steps": 6, "optimizer": {"lr": 5e-06}})
    run.save_summary(SUMMARY)
    assert run.config() == {"steps": 6, "optimizer": {"lr": 5e-06}}
    assert run.summary().test_accuracy == 87.5
    assert list(json.loads(run.summary_file.read_text())) == list(Summary.model_fields), "in the order of the class"


def test_a_missing_file_is_a_line_that_names_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "none")
    for read, message in {
        run.config: "none holds no run: there is no config.yaml in it",
        run.summary: "none has not finished: there is no summary.json in it",
        run.exported_model: "none has not finished: there is no model.safetensors in it",
    }.items():
        with pytest.raises(MissingFileError, match=message):
            read()
    assert not run.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"steps": 6}', "\x00"])
def test_a_damaged_summary_is_a_line_that_names_it_and_the_remedy(tmp_path: Path, text: str) -> None:
    run = RunFolder(tmp_path)
    run.summary_file.write_text(text)
    with pytest.raises(DataError, match=r"summary\.json: unreadable or damaged; the same smpl-train") as caught:
        run.summary()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"- 1", b"a: [", b"\xff\xfe"])
def test_a_configuration_that_is_no_mapping_is_a_line_that_names_it(tmp_path: Path, content: bytes) -> None:
    run = RunFolder(tmp_path)
    run.config_file.write_bytes(content)
    with pytest.raises(UsageError, match=r"config\.yaml: "):
        run.config()
