"""Read a CSV table of images: the file, the class and, if there is such a column, the split of each."""

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
    """The row of one image."""

    line: int
    """The number of its line in the table, from 1 on."""
    split: str
    label: str
    """The name of its class; empty in the split ``unlabeled`` and nowhere else."""


def read_table(path: Path) -> dict[bytes, Row]:
    """Return the rows by file name, in the order of the table; names are relative to the source, with single slashes.

    A training image without a label belongs to the split ``unlabeled``, in which labels are ignored. Raises DataError
    with the number of a line that is not valid.
    """
    rows: dict[bytes, Row] = {}
    for line, file, label, split in _read_rows(path):
        where = f"{path} line {line}"
        name = _file_name(where, file)
        row = _parse_row(where, line, label, split)
        if name in rows:
            raise DataError(f"{where}: {file!r} is in line {rows[name].line} already; remove one of them")
        rows[name] = row
    return rows


def _read_rows(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield the line number, the file, the label and the split of every row as they are written."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            indices = _column_indices(path, header)
            for cells in filter(None, reader):
                line = reader.line_num
                if len(cells) != len(header):
                    raise DataError(
                        f"{path} line {line}: {len(cells)} cells under {len(header)} columns; put quotes around commas"
                    )
                picked = [cells[indices[key]] if key in indices else "" for key in COLUMNS]
                yield line, picked[0], picked[1], picked[2]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} after line {line}); save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} after line {line}: {error}; fix the quotes there") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; --csv names a table of files and labels") from None


def _column_indices(path: Path, header: list[str]) -> dict[str, int]:
    """Return the index of each known column."""
    if len(header) == 1 and (other := next((sign for sign in ";\t|" if sign in header[0]), None)):
        raise DataError(
            f"{path}: its first line is {header[0]!r:.80}; separate the columns by commas, not by {other!r}"
        )
    names = [name.strip().lower() for name in header]
    indices: dict[str, int] = {}
    for key, accepted in COLUMNS.items():
        found = [index for index, name in enumerate(names) if name in accepted]
        if len(found) > 1:
            both = " and ".join(repr(header[index]) for index in found)
            raise DataError(f"{path}: the columns {both} both hold the {key}; remove one of them")
        if found:
            indices[key] = found[0]
        elif key != "split":
            raise DataError(
                f"{path}: no column {' or '.join(accepted)}; its first line is {','.join(header)!r:.80}, "
                "and must be a header such as file,label"
            )
    return indices


def _file_name(where: str, file: str) -> bytes:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where}: {file!r} leads out of --source; write paths below it")
    if not path.parts or "\0" in file:
        raise DataError(f"{where}: {file!r} is no name of a file; write the path below --source")
    return str(path).encode()


def _parse_row(where: str, line: int, label: str, split: str) -> Row:
    key = split.strip().lower()
    if key not in SPLITS:
        raise DataError(f"{where}: split {split!r}; known are train, val, test and unlabeled")
    label = label.strip()
    if SPLITS[key] == "unlabeled" or (not label and SPLITS[key] == "train"):
        return Row(line, "unlabeled", "")
    if not label:
        raise DataError(f"{where}: a {SPLITS[key]} image without a label; give it one or remove the line")
    return Row(line, SPLITS[key], label)
