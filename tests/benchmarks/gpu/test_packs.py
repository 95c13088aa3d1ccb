"""A prepared set arrives through packs as it was, and a pack that is missing or damaged is named."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.gpu.packs import SUMS, main
from data_prep.cli import main as smpl_data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a prepared set ``digits`` and its packs."""
    folder = tmp_path_factory.mktemp("made")
    for program, words in {
        smpl_data: ["prepare", "digits", "--out", str(folder / "digits")],
        main: ["make", str(folder / "digits"), "--out", str(folder / "packs"), "--megabytes", "0.05"],
    }.items():
        result = CliRunner().invoke(program, words)
        assert result.exit_code == 0, result.output
    return folder


def join(packs: Path, out: Path) -> Result:
    return CliRunner().invoke(main, ["join", str(packs), "--out", str(out)])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_packs_are_bounded_and_join_to_the_set(made: Path, tmp_path: Path) -> None:
    sizes = [path.stat().st_size for path in (made / "packs").glob("digits.pack*")]
    assert len(sizes) > 1
    assert max(sizes) <= 50_000
    result = join(made / "packs", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "data" / "digits") == contents(made / "digits")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["digits"]
    again = join(made / "packs", tmp_path / "data")
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_the_same_set_makes_the_same_packs(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "digits", tmp_path / "digits", copy_function=shutil.copyfile)
    words = ["make", str(tmp_path / "digits"), "--out", str(tmp_path / "packs"), "--megabytes", "0.05"]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert contents(tmp_path / "packs") == contents(made / "packs")


@pytest.mark.parametrize("name", ["digits.pack1", "digits.pack2", SUMS])
def test_a_missing_or_damaged_pack_is_named(name: str, made: Path, tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    shutil.copytree(made / "packs", packs)
    content = (packs / name).read_bytes()
    (packs / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    damaged = join(packs, tmp_path / "data")
    (packs / name).unlink()
    missing = join(packs, tmp_path / "data")
    assert (damaged.exit_code, missing.exit_code) == (3, 3)
    assert name in missing.stderr
    assert "damaged" in damaged.stderr
    assert not (tmp_path / "data").exists()
