"""``rejected.csv``: the images that were left out of a prepared set, and why."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep.dataset.shard_stats import SkippedImage
from data_prep.system.atomic_files import write_durably
from data_prep.system.errors import DataError

REJECTED = "rejected.csv"


def save_rejected(folder: Path, classes: Sequence[str], images: Iterable[SkippedImage]) -> None:
    """Write a table of the images that were left out; remove an earlier one if there are none. Raises DataError."""
    (folder / REJECTED).unlink(missing_ok=True)
    names = [*classes, ""]  # the last one for label -1, unknown
    rows = [(image.split, names[image.label], image.name, image.reason) for image in images]
    if not rows:
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("split", "class", "file", "reason"), *rows])
    write_durably(folder / REJECTED, text.getvalue().encode(errors="surrogateescape"))


def count_rejected(folder: Path) -> int:
    """Return the number of image files that were left out of a finished set. Raises DataError.

    A labeled image that is in the unlabeled split too has two rows in the table.
    """
    try:
        with (folder / REJECTED).open(newline="", errors="surrogateescape") as file:
            return len({row["file"] for row in csv.DictReader(file)})
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise DataError(f"{folder / REJECTED}: {error.strerror}") from None
