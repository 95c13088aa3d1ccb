"""Whether a training set has the images that the options take from every class."""

from collections.abc import Sequence

import numpy as np

from data_prep.dataset.manifest import Option
from data_prep.errors import UsageError
from data_prep.labels import write_labels
from data_prep.split import Labels


def check_room(
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
