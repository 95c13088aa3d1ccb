"""The command: one line for every mistake, the right exit code, an instant start."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from data_prep.cli import main
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import UsageError
from tests.data_prep import fixtures


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", [[], ["prepare"], ["verify"], ["show"]])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys; from data_prep.cli import main; "
        f"code = main({[*command, '--help']!r}, standalone_mode=False); "
        "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'PIL', 'pydantic', 'webdataset'} & set(sys.modules); "
        "sys.exit(' '.join(heavy) or code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_no_arguments_show_the_help():
    result = call()
    assert result.exit_code == 2
    assert "Commands:" in result.output


MISTAKES = {
    "unknown set": (["prepare", "mnist"], "is not one of 'digits'"),
    "unknown option": (["prepare", "digits", "--lables", "20"], "--labels"),
    "no number": (["prepare", "digits", "--labels", "many"], "--labels"),
    "labels indivisible": (
        ["prepare", "digits", "--labels", "24"],
        "--labels 24: must be a multiple of the 10 classes; the nearest valid is 20",
    ),
    "labels zero": (["prepare", "digits", "--labels", "0"], "the nearest valid is 10"),
    "labels negative": (
        ["prepare", "digits", "--labels", "-10"],
        "--labels -10: must be a multiple of the 10 classes; the nearest valid is 10",
    ),
    "val indivisible": (
        ["prepare", "digits", "--val", "99"],
        "--val 99: must be a multiple of the 10 classes; the nearest valid is 100",
    ),
    "val negative": (["prepare", "digits", "--val", "-10"], "the nearest valid is 0"),
    "seed negative": (["prepare", "digits", "--split-seed", "-1"], "--split-seed -1: the nearest valid choice is 0"),
    "no workers": (["prepare", "digits", "--workers", "0"], "--workers 0: the nearest valid choice is 1"),
    "no shard size": (["prepare", "digits", "--shard-size", "0"], "--shard-size 0: the nearest valid choice is 1"),
    "too many labels": (
        ["prepare", "digits", "--labels", "5000"],
        "--labels 5000 --val 100 need 510 images of class '8', which has 134; "
        "the nearest valid choice is --labels 1240",
    ),
    "too much val": (["prepare", "digits", "--val", "5000"], "the nearest valid choice is --val 1320"),
    "both too many": (
        ["prepare", "digits", "--labels", "5000", "--val", "5000"],
        "the nearest valid choice is --labels 1340 --val 0",
    ),
    "no unlabeled left": (
        ["prepare", "digits", "--labels", "1240", "--exclude-labeled"],
        "need 134 images and an unlabeled one of class '8', which has 134",
    ),
    "labels of one class too few": (
        ["prepare", "moons", "--labels", "6+0"],
        "--labels 6+0: every class needs at least 1",
    ),
    "labels of a class negative": (["prepare", "moons", "--labels", "6+-1"], "the lowest valid is 1+1"),
    "labels of three classes": (
        ["prepare", "moons", "--labels", "5+1+2"],
        "--labels 5+1+2: 3 numbers for 2 classes; give one for each",
    ),
    "labels of two of ten": (["prepare", "digits", "--labels", "5+1"], "--labels 5+1: 2 numbers for 10 classes"),
    "labels unfinished": (
        ["prepare", "moons", "--labels", "5+"],
        "'5+' is neither a number of images, one",
    ),
    "labels in words": (["prepare", "moons", "--labels", "5+one"], "'5+one' is neither"),
    "labels endless": (["prepare", "moons", "--labels", "9" * 5000], "is neither a number"),
    "too many labels of a class": (
        ["prepare", "moons", "--labels", "5+1001"],
        "--labels 5+1001 --val 0 need 1001 images of class 'lower', which has 1000; "
        "the nearest valid choice is --labels 5+1000",
    ),
    "too many labels of a class beside val": (
        ["prepare", "moons", "--labels", "950+5", "--val", "200"],
        "--labels 950+5 --val 200 need 1050 images of class 'upper', which has 1000; "
        "the nearest valid choice is --labels 900+5",
    ),
    "too much val beside labels of a class": (
        ["prepare", "moons", "--labels", "600+1", "--val", "2000"],
        "need 1600 images of class 'upper', which has 1000; the nearest valid choice is --val 800",
    ),
    "no unlabeled left of a class": (
        ["prepare", "moons", "--labels", "1000+1", "--exclude-labeled"],
        "need 1000 images and an unlabeled one of class 'upper', which has 1000; "
        "the nearest valid choice is --labels 999+1",
    ),
    "pixels as floats": (
        ["prepare", "digits", "--image-format", "npy"],
        "--image-format npy: digits holds uint8; choose png or webp or jpeg",
    ),
    "points as pixels": (
        ["prepare", "moons", "--image-format", "png"],
        "--image-format png: moons holds float32; choose npy",
    ),
    "extra": (["prepare", "digits", "--extra"], "--extra: digits has no extra images"),
    "source of the embedded": (["prepare", "digits", "--source", "."], "digits is embedded"),
    "checksum of the embedded": (["prepare", "digits", "--checksum", "off"], "digits is embedded"),
    "no source": (
        ["prepare", "cifar10", "--source", "/nowhere"],
        "--source /nowhere does not exist; it must hold cifar-10-batches-py or cifar-10-python.tar.gz",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_and_exit_with_2(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, said = MISTAKES[name]
    result = call(*arguments, "--out", tmp_path / "set")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


@pytest.mark.parametrize("option", ["labels", "val"])
def test_the_nearest_choice_named_is_valid(option, tmp_path):
    """What the message recommends goes through."""
    valid = {"labels": 1240, "val": 1320}[option]
    prepare(PrepareRequest("digits", out=tmp_path / "set", **{option: valid}))
    with pytest.raises(UsageError):
        prepare(PrepareRequest("digits", out=tmp_path / "more", **{option: valid + 10}))


@pytest.mark.parametrize("command", ["verify", "show"])
def test_missing_data_set_is_one_line_and_exits_with_3(command, tmp_path):
    result = call(command, tmp_path / "nothing")
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "run `smpl-data prepare` first" in result.stderr


def test_default_folder_and_the_second_call(tmp_path, monkeypatch):
    monkeypatch.setenv("SMPL_DATA", str(tmp_path))
    first, second = call("prepare", "digits"), call("prepare", "digits")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.startswith(f"prepared {tmp_path}/digits-20-seed0: digits, 20 labeled, 1297 unlabeled")
    assert second.stdout.startswith(f"{tmp_path}/digits-20-seed0 is complete: ")


def test_jpeg_says_that_it_is_lossy(tmp_path, cifar10):
    result = call(
        "prepare", "cifar10", "--source", cifar10, "--checksum", "off", "--labels", 10, "--val", 0,
        "--image-format", "jpeg", "--out", tmp_path / "set",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "jpeg is lossy" in result.stderr
    assert call("verify", tmp_path / "set").exit_code == 0


def test_show_prints_the_splits_and_the_classes_and_draws_a_sheet(digits, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    result = call("show", digits)
    assert result.exit_code == 0
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:3]] == [
        ["labeled", "1", "20"],
        ["unlabeled", "6", "1297"],
    ]
    assert ["8", "2", "124", "10", "40", "8"] in [line.split() for line in result.stdout.splitlines()]
    assert result.stdout.splitlines()[-1] == "contact sheet: set-contact.png"
    with Image.open(tmp_path / "set-contact.png") as sheet:
        assert sheet.format == "PNG"
    assert call("show", digits, "--sheet", tmp_path / "none" / "x.png").exit_code == 3


def test_show_draws_color_sets(tmp_path, tiny):
    prepare(PrepareRequest(**tiny, out=tmp_path / "set"))
    assert call("show", tmp_path / "set", "--sheet", tmp_path / "sheet.png").exit_code == 0
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


@pytest.mark.slow
def test_show_draws_points_by_class(moons, tmp_path):
    from PIL import Image

    result = call("show", moons, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == ["labeled", "1", "6", "20480", "1", "5"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = {color[:3]: count for count, color in sheet.getcolors(1 << 20)}
    assert pixels[31, 119, 180] > 2 * pixels[255, 127, 14] > 0, "labeled points alone are opaque: 5 blue, 1 orange"
    assert call("show", moons, "--sheet", tmp_path / "none" / "x.png").exit_code == 3


def test_show_of_a_damaged_label_is_one_line(copied):
    path = copied / "labeled-000000.tar"
    content = bytearray(path.read_bytes())
    content[1024 + 512 : 1024 + 513] = b":"
    path.write_bytes(content)
    result = call("show", copied)
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert "labeled-000000.tar: sha256 differs" in result.stderr


def test_unexpected_failure_exits_with_1(digits):
    result = fixtures.run("verify", "/dev/null/x")
    assert result.returncode == 3
    assert "Traceback" not in result.stderr
