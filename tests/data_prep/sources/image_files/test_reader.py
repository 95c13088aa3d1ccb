"""Images by reference: read one at a time, refused unless they are regular files of the source, and small to send."""

import os
import pickle
import tracemalloc

import numpy as np
import pytest

from data_prep.images.encoded import EncodedImage, RejectedImage
from data_prep.images.normalize import Normalizer
from data_prep.sources.image_files import reader
from data_prep.sources.image_files.listing import list_images
from data_prep.sources.image_files.reader import FilePart
from data_prep.sources.image_files.references import Names, References, Root, printable
from tests.data_prep import trees


def part_of(folder):
    references = list_images(Root(os.fsencode(folder)))
    return FilePart(np.arange(len(references), dtype=np.int64), references, Normalizer())


def rejected(folder):
    (found,) = [image for image in part_of(folder).encoded() if isinstance(image, RejectedImage)]
    return found


@pytest.fixture
def tree(tmp_path):
    return trees.write(tmp_path / "tree", ["a.jpg", "b.jpg", "deep/er/c.jpg"])


def test_images_come_one_by_one_in_order(tree):
    images = list(part_of(tree).encoded())
    assert [image.content for image in images] == [trees.picture(seed) for seed in range(3)]
    assert {(image.extension, image.shape) for image in images} == {("jpg", (7, 9, 3))}


def test_selection_keeps_the_asked_order(tree):
    part = part_of(tree).select(np.array([2, 0]))
    assert part.labels.tolist() == [2, 0]
    assert [image.content for image in part.encoded()] == [trees.picture(2), trees.picture(0)]
    assert list(part.select(np.array([], dtype=np.int64)).encoded()) == []


def test_one_bad_file_does_not_stop_the_others(tree):
    (tree / "b.jpg").write_bytes(b"no image")
    kinds = [type(image) for image in part_of(tree).encoded()]
    assert kinds == [EncodedImage, RejectedImage, EncodedImage]
    assert rejected(tree).name == "b.jpg"
    assert "not a JPEG" in rejected(tree).reason


def test_pipe_is_refused_and_never_waited_for(tree):
    os.mkfifo(tree / "pipe.jpg")
    assert rejected(tree) == RejectedImage("pipe.jpg", "no regular file: refused")


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "../outside.jpg"])
def test_link_that_leads_out_is_refused(target, tree):
    (tree.parent / "outside.jpg").write_bytes(trees.picture())
    (tree / "link.jpg").symlink_to(target)
    assert rejected(tree) == RejectedImage("link.jpg", "a link that leads out of the source folder: refused")


def test_folder_with_the_same_beginning_is_outside(tree):
    (tree.parent / "tree2").mkdir()
    (tree.parent / "tree2" / "x.jpg").write_bytes(trees.picture())
    (tree / "link.jpg").symlink_to("../tree2/x.jpg")
    assert "leads out" in rejected(tree).reason


def test_link_within_the_source_is_read(tree):
    (tree / "link.jpg").symlink_to("deep/er/c.jpg")
    (tree.parent / "name").symlink_to(tree)
    contents = [image.content for image in part_of(tree.parent / "name").encoded()]
    assert contents.count(trees.picture(2)) == 2


def test_dead_and_circular_links_are_refused(tree):
    (tree / "b.jpg").unlink()
    (tree / "b.jpg").symlink_to("nowhere.jpg")
    assert "No such file" in rejected(tree).reason
    (tree / "b.jpg").unlink()
    (tree / "b.jpg").symlink_to("b.jpg")
    assert "Too many levels of symbolic links" in rejected(tree).reason


def test_huge_file_is_refused_unread(tree):
    with (tree / "b.jpg").open("wb") as file:
        file.truncate(reader.MAX_FILE_BYTES + 1)
    assert rejected(tree) == RejectedImage("b.jpg", "1073741825 bytes, more than 1073741824: refused")


def test_file_without_rights_is_refused(tree):
    (tree / "b.jpg").chmod(0)
    part = part_of(tree)
    with trees.without_rights(tree):
        reasons = [image.reason for image in part.encoded() if isinstance(image, RejectedImage)]
    assert reasons == ["cannot be read: Permission denied"]


def test_file_that_vanished_is_refused(tree):
    part = part_of(tree)
    (tree / "a.jpg").unlink()
    assert next(part.encoded()) == RejectedImage("a.jpg", "cannot be read: No such file or directory")


def test_any_name_is_read_and_shown_on_one_line(tmp_path):
    names = [b"new\nline.jpg", b"\xff\xfe.jpg", b"quote'\".jpg", "ä \u2028.jpg".encode()]
    for number, name in enumerate(names):
        (tmp_path / os.fsdecode(name)).write_bytes(trees.picture(number))
    part = part_of(tmp_path)
    assert sorted(image.content for image in part.encoded()) == sorted(trees.picture(number) for number in range(4))
    shown = [part.references.shown(index) for index in range(4)]
    assert shown == ["new\\nline.jpg", "quote'\".jpg", "ä \\u2028.jpg", "\\xff\\xfe.jpg"]
    assert printable(b"plain name.jpg") == "plain name.jpg"


def test_archive_member_is_read_at_its_offset(tmp_path):
    images = [trees.picture(0), trees.picture(1)]
    (tmp_path / "a.bin").write_bytes(b"head" + images[0] + b"gap" + images[1])
    root = Root(os.fsencode(tmp_path / "a.bin"), "a.bin: ")
    offsets = [4 + len(images[0]) + 3, 4]
    references = References.of(root, [b"y", b"x"], [len(images[1]), len(images[0])], offsets)
    part = FilePart(np.zeros(2, np.int64), references, Normalizer())
    assert [image.content for image in part.encoded()] == images[::-1]
    (tmp_path / "a.bin").write_bytes(b"head" + images[0] + b"gap" + images[1][:-1])
    cut = next(part.encoded())
    assert cut == RejectedImage("a.bin: y", "the archive ends inside this image; get the archive again")


def test_joined_references_keep_their_roots(tmp_path):
    folders = [trees.write(tmp_path / name, ["x.jpg"], seed) for seed, name in enumerate("ab")]
    parts = [part_of(folder) for folder in (*folders, folders[0])]
    joined = FilePart.join(parts)
    assert len(joined.references.roots) == 2
    assert [image.content for image in joined.encoded()] == [trees.picture(seed) for seed in (0, 1, 0)]


def test_names_hold_empty_and_odd_ones():
    held = [b"", b"a", b"", b"b\0c", b""]
    names = Names.of(held)
    assert list(names) == held == [names[index] for index in range(5)]
    assert list(Names.join([names, Names.of([]), names])) == held * 2


def test_hundred_thousand_references_are_small():
    names = [f"n01440764/n01440764_{number}.JPEG".encode() for number in range(100_000)]
    tracemalloc.start()
    try:
        references = References.of(Root(b"/data"), names, [100_000] * len(names))
        part = FilePart(np.zeros(len(names), np.int64), references, Normalizer())
        part.select(np.arange(1000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 80 * len(names)


def test_shard_of_a_large_part_is_small_to_send():
    names = [f"n01440764/n01440764_{number}.JPEG".encode() for number in range(100_000)]
    references = References.of(Root(b"/data"), names, [100_000] * len(names))
    shard = FilePart(np.arange(len(names)), references, Normalizer()).select(np.arange(0, 100_000, 100))
    content = pickle.dumps(shard)
    assert len(content) < 80 * 1000
    again = pickle.loads(content)
    assert list(again.references.names) == list(shard.references.names)
    assert again.labels.tolist() == list(range(0, 100_000, 100))


def test_reading_holds_one_image_at_a_time(tmp_path):
    """Ten times as many images take no more memory, apart from their references."""

    def peak(count):
        folder = trees.write(tmp_path / str(count), [])
        folder.mkdir()
        content = trees.picture(size=(64, 64)) + bytes(100_000)
        for number in range(count):
            (folder / f"{number}.jpg").write_bytes(content)
        part = part_of(folder)
        tracemalloc.start()
        try:
            for _ in part.encoded():
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(5)  # imports
    assert peak(100) < peak(10) + 100_000
