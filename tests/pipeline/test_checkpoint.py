"""Checkpoints on the disk: complete or ignored, checked when read, and never executed."""

import json
from pathlib import Path

import pytest

from data_prep.system.errors import DataError
from pipeline.checkpoint import CheckpointFolder
from tests.pipeline.conftest import CPU


@pytest.mark.parametrize("damage", ["truncate", "delete", "record"])
def test_a_run_without_an_undamaged_checkpoint_says_so(tmp_path: Path, damage: str) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(5, {"step": 5})
    file, record = tmp_path / "step-00000005.pt", tmp_path / "step-00000005.json"
    {
        "truncate": lambda: file.write_bytes(file.read_bytes()[:-10]),
        "delete": file.unlink,
        "record": lambda: record.write_text("{"),
    }[damage]()
    with pytest.raises(DataError, match=r"step-00000005\.pt.*delete"):
        folder.load_newest(CPU)


def test_a_pickle_in_a_checkpoint_is_never_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "exploded",)

    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.save(1, {"bomb": Bomb()})
    with pytest.raises(DataError):
        folder.load_newest(CPU)
    assert not (tmp_path / "exploded").exists()


def test_a_save_that_dies_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(1, {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            folder.save(2, {"step": 2})
    state, damage = folder.load_newest(CPU)
    assert state == {"step": 1}
    assert damage == []


def test_what_a_kill_in_mid_save_left_behind_is_cleared_away(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for name in ("step-00000001.pt", "step-00000002.pt.partial"):
        (tmp_path / name).write_bytes(b"half")
    for step in (3, 4, 5):
        folder.save(step, {"step": step})
    assert {path.name for path in tmp_path.iterdir()} == {
        f"step-0000000{n}.{kind}" for n in (4, 5) for kind in ("pt", "json")
    }
