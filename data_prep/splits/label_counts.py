"""The number of images that a split takes of each class.

It is given as a number that the classes share evenly (20), one number for each class (5+1), or a percentage (10%).
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_prep.system.errors import UsageError
from data_prep.system.types import Labels, Option

NUMBERS = re.compile(r"-?\d{1,9}(\+-?\d{1,9})*", re.ASCII)
PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)%", re.ASCII)
LISTED = "list"
"""The value of ``labels`` if the user gave a list of the labeled images."""


def read_labels(value: object) -> int | str:
    """Return 6 for 6 or "6", "5+1" for "5+1" or "05+1", and "10%" for "10%".

    Whether the number fits the classes is not checked. Raises ValueError on anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (value == LISTED or _is_percentage(value)):
        return value
    if isinstance(value, str) and PERCENT.fullmatch(value):
        raise ValueError(f"{value} is not above 0% and at most 100%")
    if not isinstance(value, str) or NUMBERS.fullmatch(value) is None:
        raise ValueError(f"{value!r:.40} is neither a number of images, one for each class (5+1), nor a part (10%)")
    numbers = [int(part) for part in value.split("+")]
    return numbers[0] if len(numbers) == 1 else write_labels(numbers)


def write_labels(numbers: Iterable[int]) -> str:
    """Return "5+1" for 5 and 1."""
    return "+".join(map(str, numbers))


def per_class(labels: Option, available: Sequence[int]) -> tuple[int, ...]:
    """Return the number of images to take of each class.

    Args:
        labels: what :func:`read_labels` returned. A percentage is rounded to whole images, but never to none.
        available: the number of images that each class has.
    """
    if isinstance(labels, str) and _is_percentage(labels):
        return tuple(max(1, round(count * float(labels[:-1]) / 100)) if count else 0 for count in available)
    if isinstance(labels, str):
        return tuple(map(int, labels.split("+")))
    return (int(labels) // len(available),) * len(available)


def check_label_counts(options: Mapping[str, Option], classes: int) -> None:
    """Check the options ``labels`` and ``val`` against the number of classes. Raises UsageError."""
    check_numbers("--labels", options["labels"], classes, minimum=1)
    check_numbers("--val", options["val"], classes, minimum=0)


def check_numbers(option: str, wanted: Option, classes: int, *, minimum: int) -> None:
    """Check that a number of images fits the classes and gives each of them at least ``minimum``. Raises UsageError."""
    if isinstance(wanted, int):
        if wanted >= minimum * classes and wanted % classes == 0:
            return
        nearest = max(minimum * classes, round(wanted / classes) * classes)
        raise UsageError(
            f"{option} {wanted}: must be a multiple of the {classes} classes; the nearest valid is {nearest}"
        )
    if wanted == LISTED or _is_percentage(wanted):
        return
    numbers = per_class(wanted, range(classes))
    if len(numbers) != classes:
        raise UsageError(f"{option} {wanted}: {len(numbers)} numbers for {classes} classes; give one for each")
    if min(numbers) < minimum:
        lowest = write_labels([minimum] * classes)
        raise UsageError(f"{option} {wanted}: every class needs at least {minimum}; the lowest valid is {lowest}")


def check_enough_images(
    classes: Sequence[str],
    available: Sequence[int],
    labeled: Sequence[int],
    val: Sequence[int],
    options: Mapping[str, Option],
) -> None:
    """Check that every class has the images that ``labeled`` and ``val`` take together. Raises UsageError.

    If the labeled images are excluded from the unlabeled split, every class must keep an unlabeled image as well.
    """
    usable = np.array(available) - (0 if options["include_labeled"] else 1)
    labels, held_out = np.array(labeled), np.array(val)
    worst = int((labels + held_out - usable).argmax())
    needed = labels[worst] + held_out[worst]
    if needed <= usable[worst]:
        return
    needs = f"{needed} images{'' if options['include_labeled'] else ' and an unlabeled one'}"
    raise UsageError(
        f"--labels {options['labels']} --val {options['val']} need {needs} of class {classes[worst]!r}, "
        f"which has {available[worst]}; the nearest valid choice is {_nearest_valid(labels, held_out, usable, options)}"
    )


def _nearest_valid(labels: Labels, held_out: Labels, usable: Labels, options: Mapping[str, Option]) -> str:
    """Return the valid options that are nearest to those that need too many images.

    Fewer labels are proposed if that is enough, else fewer validation images, else no validation images and as many
    labels as there are usable images.

    Args:
        labels: the number of labeled images of each class that is asked for, int64 [classes].
        held_out: the number of validation images of each class that is asked for, int64 [classes].
        usable: the number of images of each class that the two may take together, int64 [classes].
        options: the options of the preparation.
    """
    write = write_labels if isinstance(options["labels"], str) else _write_even
    fewer, left = np.minimum(labels, usable - held_out), int((usable - labels).min())
    if fewer.min() > 0:
        return f"--labels {write(fewer)}"
    if left >= 0:
        return f"--val {left * len(labels)}"
    return f"--labels {write(np.minimum(labels, np.maximum(usable, 1)))} --val 0"


def _write_even(numbers: Labels) -> str:
    return str(numbers.min() * len(numbers))


def _is_percentage(text: str) -> bool:
    found = PERCENT.fullmatch(text)
    return found is not None and 0 < float(found[1]) <= 100
