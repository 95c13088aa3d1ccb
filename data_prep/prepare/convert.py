"""Write a prepared set's samples a second time, in another format, beside its tars.

Split by split; ``records.json`` comes last. A killed conversion goes on with the first split that it had not finished,
and files that were lost or made from another preparation are written anew.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from data_prep.dataset.manifest import SPLITS, Manifest, Split, load_manifest
from data_prep.formats.recordio.checksums import check_record_files
from data_prep.formats.recordio.reader import (
    NAMES,
    PROGRESS,
    RECORDS,
    RecordFile,
    Records,
    load_records,
    read_records,
    save_records,
)
from data_prep.formats.recordio.writer import SUFFIXES, write_records
from data_prep.formats.sample import Sample
from data_prep.formats.webdataset.reader import open_tars
from data_prep.images.codecs import CODECS
from data_prep.prepare.run import LOCK
from data_prep.system.atomic_files import PARTIAL, locked
from data_prep.system.errors import DataError, UsageError

FORMATS = ("recordio",)


def convert(folder: Path, to: str = "recordio", *, progress: bool = True) -> Records:
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
            (folder / PROGRESS).unlink()
        return records
    with locked(folder / LOCK):
        return _converted(folder, manifest) or _convert(folder, manifest, progress=progress)


def _converted(folder: Path, manifest: Manifest) -> Records | None:
    """The records if all files stand, by their sha256."""
    with suppress(DataError):
        records = load_records(folder, manifest)
        check_record_files(folder, records.files, "always")
        return records
    return None


def _convert(folder: Path, manifest: Manifest, *, progress: bool) -> Records:
    files = _finished(folder, manifest.fingerprint)
    splits = [split for split in SPLITS if manifest.samples(split) and f"{split}.rec" not in files]
    save_records(_records(manifest, files), folder / PROGRESS)
    for path in (folder / RECORDS, *(folder / name for name in NAMES if name not in files)):
        path.unlink(missing_ok=True)
        path.with_name(path.name + PARTIAL).unlink(missing_ok=True)
    with closing(_with_bar(folder, manifest, splits, progress=progress)) as sources:
        for split, samples in sources:
            files |= _convert_split(samples, manifest.samples(split), folder / split)
            save_records(_records(manifest, files), folder / PROGRESS)
    records = _records(manifest, files)
    save_records(records, folder / RECORDS)
    (folder / PROGRESS).unlink(missing_ok=True)
    return records


def _convert_split(samples: Iterator[Sample], count: int, stem: Path) -> dict[str, RecordFile]:
    written = {f"{stem.name}{suffix}": file for suffix, file in write_records(samples, stem).items()}
    return {name: RecordFile(name, count, file.bytes, file.sha256) for name, file in written.items()}


def _finished(folder: Path, fingerprint: str) -> dict[str, RecordFile]:
    """The files of an earlier call that still have their sha256, by name; only those of whole splits."""
    good: dict[str, RecordFile] = {}
    for name in (RECORDS, PROGRESS):
        with suppress(OSError, ValueError):
            records = read_records(folder / name)
            if records.fingerprint == fingerprint:
                good |= {file.name: file for file in records.files if _confirmed(folder, file)}
    whole = [split for split in SPLITS if all(f"{split}{suffix}" in good for suffix in SUFFIXES)]
    return {name: file for name, file in good.items() if Path(name).stem in whole}


def _confirmed(folder: Path, file: RecordFile) -> bool:
    with suppress(DataError):
        check_record_files(folder, [file], "always")
        return True
    return False


def _records(manifest: Manifest, files: dict[str, RecordFile]) -> Records:
    return Records(manifest.fingerprint, tuple(files[name] for name in NAMES if name in files))


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
