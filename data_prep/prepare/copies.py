"""Say which image files of a source have the same bytes but different classes, or are in two splits.

A network that was trained on a copy of a test image is not scored on unseen images. Copies within the training images
of one class are no fault.
"""

from collections.abc import Iterator
from itertools import combinations

from data_prep.prepare.plan import Plan
from data_prep.sources.image_files.reader import FilePart
from data_prep.sources.image_files.references import References
from data_prep.sources.image_files.same_bytes import same_bytes, same_sizes

MOST_BYTES = 4 << 30
"""If more bytes would have to be read, which would take minutes, nothing is looked for."""
TRAINING = "training"

Place = tuple[str, int]
"""The split of an image, where ``training`` is both labeled and unlabeled, and its class; -1 where unknown."""


def remark_on_copies(plan: Plan) -> str:
    """Return one line that counts the copies and names a pair; an empty text if there are none, or no files."""
    train, test = plan.raw.train, plan.raw.test
    if not isinstance(train, FilePart) or not isinstance(test, FilePart):
        return ""
    references = References.join([train.references, test.references])
    candidates = same_sizes(references)
    size = sum(len(group) * max(0, int(references.sizes[group[0]])) for group in candidates)
    if size > MOST_BYTES:
        return f"copies of images in two classes or splits are not looked for: {size >> 30} GiB would have to be read"
    places = _places(plan, len(train.labels))
    groups = [group for group in same_bytes(references, candidates) if next(_pairs(group, places), None)]
    if not groups:
        return ""
    pair = next(_pairs(groups[0], places))
    first, second = (f"{references.shown(index)} ({_describe(plan, places[index])})" for index in pair)
    return (
        f"image files with the same bytes in two classes or splits: {sum(map(len, groups))}, such as {first} and "
        f"{second}; remove all but one of each"
    )


def _places(plan: Plan, train: int) -> dict[int, Place]:
    """Return the place of each image by its index; the first ``train`` images are those of the training set."""
    places: dict[int, Place] = {}
    for shard in plan.shards:
        test = shard.split == "test"
        part, first = (plan.raw.test, train) if test else (plan.raw.train, 0)
        split = shard.split if shard.split in ("val", "test") else TRAINING
        places |= {first + index: (split, int(part.labels[index])) for index in shard.indices}
    return places


def _pairs(group: list[int], places: dict[int, Place]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of copies that are in two splits, or of which both classes are known and differ."""
    for pair in combinations(group, 2):
        (split, label), (other_split, other_label) = (places[index] for index in pair)
        if split != other_split or (label != other_label and min(label, other_label) >= 0):
            yield pair


def _describe(plan: Plan, place: Place) -> str:
    split, label = place
    return f"{split}, class {plan.raw.classes[label]}" if label >= 0 else split
