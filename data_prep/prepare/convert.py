"""Write a prepared set's samples a second time, in another format, beside its tars.

Split by split; ``records.json`` comes last. A killed conversion goes on with the first split that it had not finished,
and files that were lost or made from another preparation are written anew.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from data_prep.dataset.checksums import check_all, check_file
from data_prep.dataset.manifest import SPLITS, Manifest, Split, load_manifest
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
from data_prep.prepare.run import LOCK
from data_prep.system.atomic_files import PARTIAL, locked
from data_prep.system.errors import DataError, UsageError

FORMATS = ("recordio",)


def convert(folder: Path, to: str = "recordio", *, progress: bool = True) -> RecordIOManifest:
    """Write ``{split}.rec``, ``.idx`` and ``.lst`` of every split from its tars; converted files are left alone.

    Raises UsageError on an unknown format or a set of points, DataError on damaged tars or a full disk.
    """
    if to not in FORMATS:
        raise UsageError(f"--to {to}: known is {', '.join(FORMATS)}")
    manifest = load_manifest(folder)
    if CODECS[manifest.image_format].dtype != np.uint8:
        raise UsageError(f"--to {to}: RecordIO holds pictures, {folder} holds points; train from its tars")
    if records := _converted(folder, manifest):
        with suppress(OSError):  # of a call that was killed after its last file; the set may be read-only
            (folder / UNFINISHED).unlink()
        return records
    with locked(folder / LOCK):
        return _converted(folder, manifest) or _convert(folder, manifest, progress=progress)


def _converted(folder: Path, manifest: Manifest) -> RecordIOManifest | None:
    """The records if all files stand, by their sha256."""
    with suppress(DataError):
        records = load_recordio_manifest(folder, manifest)
        check_all(folder, [file.expected for file in records.files])
        return records
    return None


def _convert(folder: Path, manifest: Manifest, *, progress: bool) -> RecordIOManifest:
    files = _finished(folder, manifest.fingerprint)
    splits = [split for split in SPLITS if manifest.samples(split) and f"{split}.rec" not in files]
    save_recordio_manifest(_records(manifest, files), folder / UNFINISHED)
    for path in (folder / RECORDIO_MANIFEST, *(folder / name for name in FILE_NAMES if name not in files)):
        path.unlink(missing_ok=True)
        path.with_name(path.name + PARTIAL).unlink(missing_ok=True)
    with closing(_with_bar(folder, manifest, splits, progress=progress)) as sources:
        for split, samples in sources:
            files |= _convert_split(samples, manifest.samples(split), folder / split)
            save_recordio_manifest(_records(manifest, files), folder / UNFINISHED)
    records = _records(manifest, files)
    save_recordio_manifest(records, folder / RECORDIO_MANIFEST)
    (folder / UNFINISHED).unlink(missing_ok=True)
    return records


def _convert_split(samples: Iterator[Sample], count: int, stem: Path) -> dict[str, RecordIOFile]:
    written = {f"{stem.name}{suffix}": file for suffix, file in write_recordio(samples, stem).items()}
    return {name: RecordIOFile(name, count, file.size, file.sha256) for name, file in written.items()}


def _finished(folder: Path, fingerprint: str) -> dict[str, RecordIOFile]:
    """The files of an earlier call that still have their sha256, by name; only those of whole splits."""
    good: dict[str, RecordIOFile] = {}
    for name in (RECORDIO_MANIFEST, UNFINISHED):
        with suppress(OSError, ValueError):
            records = read_recordio_manifest(folder / name)
            if records.fingerprint == fingerprint:
                good |= {file.name: file for file in records.files if _confirmed(folder, file)}
    whole = [split for split in SPLITS if all(f"{split}{suffix}" in good for suffix in SUFFIXES)]
    return {name: file for name, file in good.items() if Path(name).stem in whole}


def _confirmed(folder: Path, file: RecordIOFile) -> bool:
    with suppress(DataError):
        check_file(folder, file.expected)
        return True
    return False


def _records(manifest: Manifest, files: dict[str, RecordIOFile]) -> RecordIOManifest:
    return RecordIOManifest(manifest.fingerprint, tuple(files[name] for name in FILE_NAMES if name in files))


def _with_bar(
    folder: Path, manifest: Manifest, splits: list[Split], *, progress: bool
) -> Generator[tuple[Split, Iterator[Sample]], None, None]:
    from tqdm import tqdm  # noqa: PLC0415

    total = sum(map(manifest.samples, splits))
    # disable=None shows the bar on a terminal only.
    with tqdm(total=total, unit=" images", disable=None if progress else True) as bar:
        for split in splits:
            yield split, _counted(open_tars(folder, manifest, split).read_checked(), bar.update)


def _counted(samples: Iterator[Sample], tick: Callable[[], object]) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        tick()
