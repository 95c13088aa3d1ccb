"""How many images are wanted: a number that the classes share evenly, one for each class (5+1), or a part (10%)."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.system.errors import UsageError
from data_prep.system.types import Labels, Option

NUMBERS = re.compile(r"-?\d{1,9}(\+-?\d{1,9})*", re.ASCII)
PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)%", re.ASCII)
LISTED = "list"
"""The labeled images are those of a list that the user gave."""


def read_labels(value: object) -> int | str:
    """6 from 6 or "6", "5+1" from "5+1" or "05+1", and "10%"; whether they fit the classes is not known here.

    Raises ValueError on anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (value == LISTED or _is_percent(value)):
        return value
    if isinstance(value, str) and PERCENT.fullmatch(value):
        raise ValueError(f"{value} is not above 0% and at most 100%")
    if not isinstance(value, str) or NUMBERS.fullmatch(value) is None:
        raise ValueError(f"{value!r:.40} is neither a number of images, one for each class (5+1), nor a part (10%)")
    numbers = [int(part) for part in value.split("+")]
    return numbers[0] if len(numbers) == 1 else write_labels(numbers)


def write_labels(numbers: Iterable[int]) -> str:
    """5 and 1 as "5+1"."""
    return "+".join(map(str, numbers))


def per_class(labels: int | str, available: Sequence[int]) -> tuple[int, ...]:
    """The images to take of each class, from what :func:`read_labels` returned and the ``available`` ones of each.

    A part is rounded to whole images, but never to none.
    """
    if isinstance(labels, str) and _is_percent(labels):
        return tuple(max(1, round(count * float(labels[:-1]) / 100)) if count else 0 for count in available)
    if isinstance(labels, str):
        return tuple(map(int, labels.split("+")))
    return (labels // len(available),) * len(available)


def check_numbers(option: str, wanted: int | str, classes: int, *, minimum: int) -> None:
    """Check that a number fits the classes, of which each is to get ``minimum`` or more. Raises UsageError."""
    if isinstance(wanted, int):
        if wanted >= minimum * classes and wanted % classes == 0:
            return
        nearest = max(minimum * classes, round(wanted / classes) * classes)
        raise UsageError(
            f"{option} {wanted}: must be a multiple of the {classes} classes; the nearest valid is {nearest}"
        )
    if wanted == LISTED or _is_percent(wanted):
        return
    numbers = per_class(wanted, range(classes))
    if len(numbers) != classes:
        raise UsageError(f"{option} {wanted}: {len(numbers)} numbers for {classes} classes; give one for each")
    if min(numbers) < minimum:
        raise UsageError(f"{option} {wanted}: every class needs one; the least is {write_labels([minimum] * classes)}")


def _is_percent(text: str) -> bool:
    found = PERCENT.fullmatch(text)
    return found is not None and 0 < float(found[1]) <= 100


def check_enough_images(
    classes: Sequence[str],
    available: Sequence[int],
    labeled: Sequence[int],
    val: Sequence[int],
    options: dict[str, Option],
) -> None:
    """Check that every class has the images that ``labeled`` and ``val`` take together. Raises UsageError.

    With the labeled images excluded, every class must keep an unlabeled image as well.
    """
    room = np.array(available) - (0 if options["include_labeled"] else 1)
    wanted, held = np.array(labeled), np.array(val)
    worst = int((wanted + held - room).argmax())
    if wanted[worst] + held[worst] <= room[worst]:
        return
    needs = f"{wanted[worst] + held[worst]} images{'' if options['include_labeled'] else ' and an unlabeled one'}"
    raise UsageError(
        f"--labels {options['labels']} --val {options['val']} need {needs} of class {classes[worst]!r}, "
        f"which has {available[worst]}; the nearest valid choice is {_nearest_choice(wanted, held, room, options)}"
    )


def _nearest_choice(wanted: Labels, held: Labels, room: Labels, options: dict[str, Option]) -> str:
    """Fewer labels, else fewer validation images, else as many labels as there is ``room`` for; all int64 [classes]."""
    write = write_labels if isinstance(options["labels"], str) else _write_even
    fewer, left = np.minimum(wanted, room - held), int((room - wanted).min())
    if fewer.min() > 0:
        return f"--labels {write(fewer)}"
    if left >= 0:
        return f"--val {left * len(wanted)}"
    return f"--labels {write(np.minimum(wanted, np.maximum(room, 1)))} --val 0"


def _write_even(numbers: Labels) -> str:
    return str(numbers.min() * len(numbers))
