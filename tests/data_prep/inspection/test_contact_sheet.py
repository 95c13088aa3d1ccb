"""The contact sheet: every split and class has its place, labeled images are marked, and no page is too high."""

import io
import logging

import numpy as np
import pytest
from PIL import Image, ImageColor

from data_prep.dataset.manifest import load_manifest
from data_prep.inspection import contact_sheet
from data_prep.inspection.contact_sheet import ACCENT, COLUMNS, FRAME, SMALL, Row, Sheet, draw_pages, to_tile
from data_prep.inspection.preview import save_pictures
from data_prep.inspection.samples import first_samples
from data_prep.prepare.options import PrepareRequest
from data_prep.prepare.run import prepare
from data_prep.system.errors import DataError
from tests.data_prep.trees import names_of, write


def opened(page):
    with Image.open(io.BytesIO(page)) as picture:
        return np.array(picture.convert("RGB"))


def frame_pixels(width, height):
    return (width + 2 * FRAME) * (height + 2 * FRAME) - width * height


def test_small_images_are_enlarged_by_a_whole_factor():
    image = np.random.default_rng(0).integers(0, 256, (8, 7, 1), dtype=np.uint8)
    tile = np.array(to_tile(image))
    assert tile.shape == (64, 56, 3)
    assert (tile == image.repeat(8, axis=0).repeat(8, axis=1)).all()


@pytest.mark.parametrize(("size", "shown"), [((64, 64), (64, 64)), ((33, 20), (33, 20)), ((400, 200), (96, 48))])
def test_larger_images_keep_their_size_or_are_shrunk(size, shown):
    assert to_tile(np.zeros((*size, 3), np.uint8)).size == shown[::-1]


def test_each_labeled_image_has_a_frame_and_so_has_the_legend(digits):
    (page,) = draw_pages(digits, load_manifest(digits))
    framed = (opened(page) == ImageColor.getrgb(ACCENT)).all(axis=2).sum()
    assert framed == 20 * frame_pixels(64, 64) + frame_pixels(SMALL, SMALL)


def test_splits_are_columns_in_which_the_images_are_those_of_the_split(tmp_path, tiny):
    manifest = prepare(PrepareRequest(**tiny, out=tmp_path / "set"))
    found = first_samples(tmp_path / "set", manifest, COLUMNS, keep=bytes)
    assert {split: sum(map(len, rows)) for split, rows in found.items()} == {
        "labeled": 20,
        "unlabeled": 40,
        "val": 10,
        "test": 20,
    }
    everything = [image for rows in found.values() for row in rows for image in row]
    assert len(set(everything)) == len(everything), "no image is shown twice, though labeled ones are unlabeled too"


def test_no_more_shards_are_read_than_are_needed(copied):
    for path in sorted(copied.glob("unlabeled-*.tar"))[1:]:
        path.write_bytes(b"")
    manifest = load_manifest(copied)
    assert [len(row) for row in first_samples(copied, manifest, {"unlabeled": 1}, keep=bytes)["unlabeled"]] == [
        1
    ] * 10 + [0]
    with pytest.raises(DataError):
        first_samples(copied, manifest, {"unlabeled": 100}, keep=bytes)


def test_names_end_before_the_pictures_begin_and_a_long_one_is_shortened_in_the_middle(digits):
    tile = Image.new("RGB", (64, 64))
    pictures = {"labeled": [tile], "unlabeled": [tile] * 3, "val": [], "test": [tile]}
    long = "Begin " + "of a name that is long " * 5 + "end"
    sheet = Sheet("set", load_manifest(digits), [Row("short", pictures), Row(long, pictures)])
    assert sheet.names[0] == "short"
    assert sheet.names[1].startswith("Begin") and sheet.names[1].endswith("end") and "…" in sheet.names[1]  # noqa: PT018
    assert [group.split for group in sheet.groups] == ["labeled", "unlabeled", "test"]
    edges = [sheet.names_right, *(edge for group in sheet.groups for edge in (group.left, group.right)), sheet.width]
    assert edges == sorted(edges)
    pixels = opened(sheet.draw_page(0, 2))[contact_sheet.HEADER : -contact_sheet.FOOTER]
    between = pixels[:, sheet.names_right + 2 : sheet.groups[0].left - FRAME]
    assert (between == 255).all()


@pytest.mark.slow
def test_many_classes_become_pages_and_one_line_says_so(tmp_path, caplog):
    classes = [f"class {number:02d}" for number in range(60)]
    source = write(tmp_path / "source", names_of(*classes, count=4))
    folder = tmp_path / "set"
    manifest = prepare(PrepareRequest("folder", source=source, out=folder, labels=60, val=60, test="60"))
    with caplog.at_level(logging.INFO):
        caplog.clear()
        paths = save_pictures(folder, manifest, tmp_path / "all.png")
    assert [path.name for path in paths] == ["all.png", "all-2.png", "all-3.png"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("the contact sheet of 60 classes has 3 pages: ")
    pages = [opened(path.read_bytes()) for path in paths]
    assert all(len(page) <= contact_sheet.PAGE_HEIGHT for page in pages)
    framed = sum((page == ImageColor.getrgb(ACCENT)).all(axis=2).sum() for page in pages)
    assert framed == 60 * frame_pixels(63, 49) + 3 * frame_pixels(SMALL, SMALL)


def test_images_of_unknown_class_have_a_row_of_their_own(tmp_path):
    source = write(tmp_path / "source", [*names_of("cat", "dog", count=10), *names_of("unlabeled", count=3)])
    manifest = prepare(PrepareRequest("folder", source=source, out=tmp_path / "set"))
    rows = contact_sheet._read_rows(tmp_path / "set", manifest)
    assert [row.name for row in rows] == ["cat", "dog", "(unknown)"]
    assert {split: len(pictures) for split, pictures in rows[2].pictures.items()} == {
        "labeled": 0,
        "unlabeled": 3,
        "val": 0,
        "test": 0,
    }
