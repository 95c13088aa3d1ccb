"""Write the samples of a prepared set in another format too, beside its tars.

The splits are written one after the other, and ``records.json`` last. A killed conversion goes on with the first split
that it had not finished; files that were lost or made from another preparation are written again.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from data_prep.dataset.checksums import check_all, check_file
from data_prep.dataset.manifest import SPLITS, Manifest
from data_prep.formats.recordio.manifest import (
    FILE_NAMES,
    RECORDIO_MANIFEST,
    UNFINISHED,
    RecordIOFile,
    RecordIOManifest,
    load_recordio_manifest,
    read_recordio_manifest,
    save_recordio_manifest,
)
from data_prep.formats.recordio.writer import SUFFIXES, write_recordio
from data_prep.formats.sample import Sample
from data_prep.formats.webdataset.reader import open_tars
from data_prep.images.codecs import CODECS
from data_prep.prepare.progress import LOCK
from data_prep.system.atomic_files import PARTIAL, locked
from data_prep.system.errors import DataError, UsageError
from data_prep.system.progress_bar import progress_bar

FORMATS = ("recordio",)


def convert(folder: Path, manifest: Manifest, to: str = "recordio") -> RecordIOManifest:
    """Write ``{split}.rec``, ``.idx`` and ``.lst`` of every split from its tars; converted files are left alone.

    Raises UsageError on an unknown format or a set of points, DataError on damaged tars or a full disk.
    """
    if to not in FORMATS:
        raise UsageError(f"--to {to}: known is {', '.join(FORMATS)}")
    if CODECS[manifest.image_format].dtype != np.uint8:
        raise UsageError(f"--to {to}: RecordIO holds pictures, {folder} holds points; train from its tars")
    if converted := _find_converted(folder, manifest):
        with suppress(OSError):  # left by a call that was killed after its last file; the set may be read-only
            (folder / UNFINISHED).unlink()
        return converted
    with locked(folder / LOCK):
        return _find_converted(folder, manifest) or _convert(folder, manifest)


def _find_converted(folder: Path, manifest: Manifest) -> RecordIOManifest | None:
    """Return what ``records.json`` says if every file is there and has the right sha256."""
    with suppress(DataError):
        converted = load_recordio_manifest(folder, manifest)
        check_all(folder, [file.expected for file in converted.files])
        return converted
    return None


def _convert(folder: Path, manifest: Manifest) -> RecordIOManifest:
    files = _finished_files(folder, manifest.fingerprint)
    splits = [split for split in SPLITS if manifest.samples(split) and f"{split}.rec" not in files]
    save_recordio_manifest(_describe(manifest, files), folder / UNFINISHED)
    for path in (folder / RECORDIO_MANIFEST, *(folder / name for name in FILE_NAMES if name not in files)):
        path.unlink(missing_ok=True)
        path.with_name(path.name + PARTIAL).unlink(missing_ok=True)
    with progress_bar(sum(map(manifest.samples, splits)), "images") as advance:
        for split in splits:
            samples = _counted(open_tars(folder, manifest, split).read_checked(), advance)
            files |= _convert_split(samples, manifest.samples(split), folder / split)
            save_recordio_manifest(_describe(manifest, files), folder / UNFINISHED)
    converted = _describe(manifest, files)
    save_recordio_manifest(converted, folder / RECORDIO_MANIFEST)
    (folder / UNFINISHED).unlink(missing_ok=True)
    return converted


def _convert_split(samples: Iterator[Sample], count: int, stem: Path) -> dict[str, RecordIOFile]:
    written = {f"{stem.name}{suffix}": file for suffix, file in write_recordio(samples, stem).items()}
    return {name: RecordIOFile(name, count, file.size, file.sha256) for name, file in written.items()}


def _finished_files(folder: Path, fingerprint: str) -> dict[str, RecordIOFile]:
    """Return the files of whole splits that an earlier call wrote and whose sha256 is right, by name."""
    good: dict[str, RecordIOFile] = {}
    for name in (RECORDIO_MANIFEST, UNFINISHED):
        with suppress(OSError, ValueError):
            earlier = read_recordio_manifest(folder / name)
            if earlier.fingerprint == fingerprint:
                good |= {file.name: file for file in earlier.files if _is_intact(folder, file)}
    whole = [split for split in SPLITS if all(f"{split}{suffix}" in good for suffix in SUFFIXES)]
    return {name: file for name, file in good.items() if Path(name).stem in whole}


def _is_intact(folder: Path, file: RecordIOFile) -> bool:
    with suppress(DataError):
        check_file(folder, file.expected)
        return True
    return False


def _describe(manifest: Manifest, files: dict[str, RecordIOFile]) -> RecordIOManifest:
    return RecordIOManifest(manifest.fingerprint, tuple(files[name] for name in FILE_NAMES if name in files))


def _counted(samples: Iterator[Sample], advance: Callable[[int], object]) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        advance(1)
