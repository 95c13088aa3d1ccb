"""What a bad image does to a prepared set: it ends the preparation, or is left out and named."""

import csv
import re

import pytest
from click.testing import CliRunner

from data_prep.cli import main
from data_prep.dataset.manifest import load_manifest
from data_prep.prepare.finalize import finish
from data_prep.prepare.options import PrepareRequest, ShardRange, resolve
from data_prep.prepare.rejected import count_rejected
from data_prep.prepare.run import prepare, prepare_range
from data_prep.system.errors import DataError, UsageError
from tests.data_prep.fixtures import contents, damage_of
from tests.data_prep.trees import names_of, write

BROKEN = ("cat/004.jpg", "cat/011.jpg", "dog/007.jpg")


@pytest.fixture
def source(tmp_path):
    folder = write(tmp_path / "source", names_of("cat", "dog", count=20))
    for name in BROKEN:
        path = folder / name
        path.write_bytes(path.read_bytes()[:200])
    return folder


def request(source, out, **options):
    options = {"labels": "25%", "val": "10%", "shard_size": 4} | options
    return PrepareRequest("folder", source=source, out=out, **options)


def test_the_first_bad_image_is_named_and_nothing_looks_finished(source, tmp_path):
    result = CliRunner().invoke(main, ["prepare", "folder", "-qq", f"--source={source}", f"--out={tmp_path / 'set'}"])
    assert (result.exit_code, result.stderr.count("\n")) == (3, 1)
    assert any(name in result.stderr for name in BROKEN)
    assert "--on-error skip" in result.stderr
    assert not (tmp_path / "set" / "manifest.json").exists()


def test_left_out_images_are_named_and_the_totals_are_those_of_the_rest(source, tmp_path):
    manifest = prepare(request(source, tmp_path / "set", skip=True))
    with (tmp_path / "set" / "rejected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == set(BROKEN)
    assert {row["class"] for row in rows} == {"cat", "dog"}
    assert all(row["reason"] for row in rows)
    for place, name in enumerate(manifest.classes):
        left_out = sum(row["class"] == name and row["split"] != "labeled" for row in rows)
        kept = sum(manifest.counts[split][place] for split in ("unlabeled", "val", "test"))
        assert kept + left_out == 20
    assert damage_of(tmp_path / "set") == []


def test_a_broken_labeled_image_counts_once_though_it_is_in_two_splits(source, tmp_path):
    prepare(request(source, tmp_path / "set", skip=True, labels=30, val=0))
    with (tmp_path / "set" / "rejected.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > len(BROKEN), "some are labeled, and in the unlabeled split too"
    assert count_rejected(tmp_path / "set") == len(BROKEN)


def test_a_preparation_that_failed_goes_on_with_skip(source, tmp_path):
    with pytest.raises(DataError):
        prepare(request(source, tmp_path / "failed"))
    prepare(request(source, tmp_path / "failed", skip=True))
    prepare(request(source, tmp_path / "whole", skip=True))
    assert contents(tmp_path / "failed") == contents(tmp_path / "whole")


def test_ranges_leave_out_what_one_process_does(source, tmp_path):
    prepare(request(source, tmp_path / "whole", skip=True))
    for index in range(3):
        prepare_range(resolve(request(source, tmp_path / "ranges", skip=True, shard_range=ShardRange(index, 3))))
    result = CliRunner().invoke(main, ["finish", str(tmp_path / "ranges")])
    assert result.exit_code == 0
    assert "left out" in result.stderr
    assert finish(tmp_path / "ranges") == load_manifest(tmp_path / "whole")
    assert contents(tmp_path / "ranges") == contents(tmp_path / "whole")


def test_a_class_that_loses_every_labeled_image_is_an_error(source, tmp_path):
    for path in (source / "cat").iterdir():
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="no labeled image of 'cat' could be read"):
        prepare(request(source, tmp_path / "set", skip=True))
    assert not (tmp_path / "set" / "manifest.json").exists()


def test_a_test_split_of_bad_images_alone_is_an_error(tmp_path):
    source = write(tmp_path / "source", names_of("cat", "dog", count=20, prefix="train/"))
    write(source, names_of("cat", "dog", count=2, prefix="test/"))
    for path in source.glob("test/*/*"):
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="no test image could be read"):
        prepare(request(source, tmp_path / "set", skip=True))


def test_images_of_one_great_side(tmp_path):
    from PIL import Image

    source = write(tmp_path / "source", names_of("cat", "dog", count=20))
    for path in source.glob("*/*"):
        Image.new("RGB", (5000, 3)).save(path)
    assert prepare(request(source, tmp_path / "set")).shape == (3, 5000, 3)


def test_an_image_that_was_added_is_noticed_where_the_source_is_named(source, tmp_path):
    prepare(request(source, tmp_path / "set", skip=True))
    write(source, ["cat/new.jpg"], start=99)
    with pytest.raises(UsageError, match="source listing"):
        prepare(request(source, tmp_path / "set", skip=True))


def test_another_folder_under_the_same_name_is_refused(source, tmp_path):
    other = write(tmp_path / "other", names_of("cat", "dog", count=20), start=100)
    prepare(request(source, tmp_path / "set", skip=True))
    result = CliRunner().invoke(
        main, ["prepare", "folder", f"--source={other}", f"--out={tmp_path / 'set'}", "--labels=25%", "--shard-size=4"]
    )
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"error: .*/set was prepared from other files: "
        r"source listing [0-9a-f]{12} there and [0-9a-f]{12} here; choose another --out or remove it",
        line,
    ), line


@pytest.mark.parametrize(
    ("option", "said"), [("--test=10%", "has test images of its own"), ("--checksum=off", "no published checksums")]
)
def test_an_option_that_would_do_nothing_is_refused(option, said, tmp_path):
    source = write(tmp_path / "source", names_of("cat", "dog", count=20, prefix="train/"))
    write(source, names_of("cat", "dog", count=2, prefix="test/"))
    result = CliRunner().invoke(main, ["prepare", "folder", f"--source={source}", f"--out={tmp_path / 'set'}", option])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr


def test_what_was_decided_without_being_asked_is_said_once_a_line(tmp_path):
    source = write(tmp_path / "source", names_of("cat", "dog", count=20))
    (source / "cat" / "a.tiff").write_bytes(b"")
    (source / "dog" / "copy.jpg").write_bytes((source / "cat" / "000.jpg").read_bytes())
    arguments = ["prepare", "folder", f"--source={source}", f"--out={tmp_path / 'set'}"]
    lines = CliRunner().invoke(main, arguments).stderr.splitlines()
    for said in ("has no test images", "1 .tiff", "two classes or splits: 2, such as "):
        assert [said in line for line in lines].count(True) == 1, lines
    assert CliRunner().invoke(main, arguments).stderr == "", "a complete set needs no word"
