"""Read any sample of a split in RecordIO with one read of its ``.rec`` file."""

from pathlib import Path

from data_prep.dataset.manifest import Manifest
from data_prep.formats.recordio.index import RecordIndex, load_index
from data_prep.formats.recordio.manifest import REMEDY, load_recordio_manifest
from data_prep.formats.recordio.writer import ALIGNMENT, HEADER, MAGIC, PREFIX
from data_prep.formats.sample import IMAGE_EXTENSIONS, Sample
from data_prep.system.errors import DataError
from data_prep.system.file_handles import OpenFiles, open_remedy, open_sized


def open_recordio(folder: Path, manifest: Manifest, split: str) -> "RecordIOReader":
    """Open the ``.rec`` of a split by its ``.idx`` and ``.lst``.

    Raises DataError if a file is missing, damaged, or made from another preparation.
    """
    recordio = load_recordio_manifest(folder, manifest)
    index = load_index(folder, recordio, split) if manifest.samples(split) else RecordIndex.empty()
    return RecordIOReader(folder / f"{split}.rec", index, len(manifest.classes), hidden=split == "unlabeled")


class RecordIOReader:
    """A split in RecordIO. Its index takes 21 bytes of memory a sample.

    Args:
        path: the ``.rec`` file, which is opened at the first read.
        index: the index of its records.
        classes: the number of classes; labels are below it.
        hidden: whether labels are the hidden classes of unlabeled images and may be -1, unknown.
    """

    def __init__(self, path: Path, index: RecordIndex, classes: int, *, hidden: bool) -> None:
        self.path, self.keys, self.classes, self.lowest = path, index.keys, classes, -1 if hidden else 0
        self._edges, self._extensions, self._labels = index.edges, index.extensions, index.labels
        self._files = OpenFiles(lambda _: open_sized(path, int(index.edges[-1])))

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> Sample:
        """Read sample ``index``. Raises DataError if the bytes on disk are not those of that sample."""
        if not 0 <= index < len(self.keys):
            raise IndexError(index)
        start = int(self._edges[index])
        size = int(self._edges[index + 1]) - start
        try:
            content = self._files.read(0, start, size)
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}; {open_remedy(error, self._remedy)}") from None
        except ValueError as error:
            raise DataError(f"{self.path}: {error} by its index; {self._remedy}") from None
        return self._unpack(index, size, content)

    def _unpack(self, index: int, size: int, content: bytes) -> Sample:
        key = int(self.keys[index])
        if len(content) != size:
            raise self._damaged(key, "is cut")
        magic, length, flag, label, number, second = HEADER.unpack_from(content)
        stop = PREFIX + length
        if (magic, flag, number, second) != (MAGIC, 0, key, 0) or stop + -stop % ALIGNMENT != size:
            raise self._damaged(key, "is not where its index says, or its header is damaged")
        if not (self.lowest <= label < self.classes and label.is_integer()):
            raise self._damaged(key, f"has label {label} of {self.classes} classes")
        if label != self._labels[index]:
            raise self._damaged(key, f"has label {int(label)}, {self.path.stem}.lst says {self._labels[index]}")
        extension = IMAGE_EXTENSIONS[self._extensions[index]]
        return Sample(key, extension, content[HEADER.size : stop], int(label))

    def _damaged(self, key: int, what: str) -> DataError:
        return DataError(f"{self.path}: record {key:08d} {what}; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"remove it and {REMEDY.format(self.path.parent)}"
