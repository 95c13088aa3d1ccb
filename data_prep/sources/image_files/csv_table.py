"""Read a table of images in CSV: which file, which class, and if it says so, which split."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.system.errors import DataError

COLUMNS = {"file": ("file", "path", "filename", "image"), "label": ("label", "class"), "split": ("split",)}
SPLITS = {
    "": "train",
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "unlabeled": "unlabeled",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says of one image; ``label`` is empty in the split ``unlabeled`` and nowhere else."""

    line: int
    split: str
    label: str


def read_table(path: Path) -> dict[bytes, Row]:
    """The rows by file name, below the source and with single slashes, in the order of the table.

    An image without a label goes to the split ``unlabeled``, and in that split no label counts. Raises DataError with
    the line's number on anything that is not clear.
    """
    rows: dict[bytes, Row] = {}
    for line, file, label, split in _cells(path):
        where = f"{path} line {line}"
        name = _name(where, file)
        row = _row(where, line, label, split)
        if name in rows:
            raise DataError(f"{where}: {file!r} is in line {rows[name].line} already; remove one of them")
        rows[name] = row
    return rows


def _cells(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield line number, file, label and split of every row as they are written."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            places = _places(path, header)
            for cells in filter(None, reader):
                line = reader.line_num
                if len(cells) != len(header):
                    raise DataError(
                        f"{path} line {line}: {len(cells)} cells under {len(header)} columns; put quotes around commas"
                    )
                picked = [cells[places[key]] if key in places else "" for key in COLUMNS]
                yield line, picked[0], picked[1], picked[2]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} after line {line}); save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} after line {line}: {error}; mend the quotes there") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; --csv names a table of files and labels") from None


def _places(path: Path, header: list[str]) -> dict[str, int]:
    """Where each known column stands."""
    names = [name.strip().lower() for name in header]
    places: dict[str, int] = {}
    for key, accepted in COLUMNS.items():
        found = [index for index, name in enumerate(names) if name in accepted]
        if len(found) > 1:
            both = " and ".join(repr(header[index]) for index in found)
            raise DataError(f"{path}: the columns {both} both say the {key}; remove one of them")
        if found:
            places[key] = found[0]
        elif key != "split":
            raise DataError(
                f"{path}: no column {' or '.join(accepted)}; its first line is {','.join(header)!r:.80}, "
                "and must be a header such as file,label"
            )
    return places


def _name(where: str, file: str) -> bytes:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where}: {file!r} leads out of --source; write paths below it")
    if not path.parts or "\0" in file:
        raise DataError(f"{where}: {file!r} is no name of a file; write the path below --source")
    return str(path).encode()


def _row(where: str, line: int, label: str, split: str) -> Row:
    key = split.strip().lower()
    if key not in SPLITS:
        raise DataError(f"{where}: split {split!r}; known are train, val, test and unlabeled")
    label = label.strip()
    if SPLITS[key] == "unlabeled" or (not label and SPLITS[key] == "train"):
        return Row(line, "unlabeled", "")
    if not label:
        raise DataError(f"{where}: a {SPLITS[key]} image without a label; give it one or remove the line")
    return Row(line, SPLITS[key], label)
