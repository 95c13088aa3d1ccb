"""An evaluation in numbers and as text: of all images, of each class, and which classes are taken for which."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHOWN = 10
"""Classes, and pairs of classes, in the text."""


@dataclass(frozen=True)
class Score:
    """Of one network on a split: accuracy in percent and mean cross-entropy."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class ClassScore:
    """One class: of its images, the percentage that was recognized; of what was taken for it, the part that is it."""

    name: str
    images: int
    accuracy: float | None
    """None where the split has no image of it."""
    precision: float | None
    """None where nothing was taken for it."""


@dataclass(frozen=True)
class Confusion:
    """Images of ``name`` that were taken for ``taken_for``."""

    name: str
    taken_for: str
    images: int
    percent: float
    """Of all images of ``name``."""


@dataclass(frozen=True)
class Evaluation:
    """What came of a model on a split."""

    classes: Sequence[str]
    score: Score
    members: Mapping[str, Score]
    """Of the networks that vote, by name; empty where there is but one network."""
    confusion: NDArray[np.int64]
    """[classes, classes]: images by true class and by the class that was given."""
    unknown: int = 0
    """Images without a known class, which are not scored."""

    @property
    def images(self) -> int:
        return int(self.confusion.sum())

    def by_class(self) -> list[ClassScore]:
        """Return a row a class, in their order."""
        right = self.confusion.diagonal().tolist()
        there, given = self.confusion.sum(1).tolist(), self.confusion.sum(0).tolist()
        return [
            ClassScore(name, images, _percent(hits, images), _percent(hits, taken))
            for name, images, hits, taken in zip(self.classes, there, right, given, strict=True)
        ]

    def confused(self) -> list[Confusion]:
        """Return the pairs of classes that were confused most, at most ``SHOWN``, in order."""
        wrong = self.confusion * (1 - np.eye(len(self.classes), dtype=np.int64))
        there = self.confusion.sum(1)
        places = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN]
        pairs = [divmod(int(place), len(self.classes)) for place in places]
        return [
            Confusion(self.classes[true], self.classes[given], int(wrong[true, given]), 100 * count / there[true])
            for true, given in pairs
            if (count := int(wrong[true, given]))
        ]

    def tree(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            "images": self.images,
            "unknown": self.unknown,
            **asdict(self.score),
            "members": {name: asdict(score) for name, score in self.members.items()},
            "classes": [asdict(row) for row in self.by_class()],
            "confused": [asdict(pair) for pair in self.confused()],
            "confusion": self.confusion.tolist(),
        }


def tables(evaluation: Evaluation) -> Iterator[str]:
    """Yield the lines of the text: the score, the worst classes, the most confused pairs."""
    yield from _scores(evaluation)
    yield from _classes(evaluation)
    yield from _pairs(evaluation)


def _scores(evaluation: Evaluation) -> Iterator[str]:
    rows = {"ensemble" if evaluation.members else "accuracy": evaluation.score, **evaluation.members}
    width = max(map(len, rows)) + 2
    for name, score in rows.items():
        yield f"{name:<{width}}{score.accuracy:.2f} %, loss {score.loss:.4f}"


def _classes(evaluation: Evaluation) -> Iterator[str]:
    rows = sorted((row for row in evaluation.by_class() if row.accuracy is not None), key=_worst_first)
    shown = rows[:SHOWN]
    width = max(22, *(len(row.name) + 2 for row in shown))
    yield ""
    yield f"{'class, the worst first':<{width}}{'images':>10}{'accuracy %':>12}{'precision %':>13}"
    for row in shown:
        yield f"{row.name:<{width}}{row.images:>10}{_shown(row.accuracy):>12}{_shown(row.precision):>13}"
    if len(rows) > SHOWN:
        yield f"and {len(rows) - SHOWN} more"


def _pairs(evaluation: Evaluation) -> Iterator[str]:
    titles = {f"{pair.name} taken for {pair.taken_for}": pair for pair in evaluation.confused()}
    if titles:
        width = max(22, *(len(title) + 2 for title in titles))
        yield ""
        yield f"{'most confused':<{width}}{'images':>10}{'of class %':>12}"
        for title, pair in titles.items():
            yield f"{title:<{width}}{pair.images:>10}{pair.percent:>12.2f}"


def _worst_first(row: ClassScore) -> tuple[float, float]:
    return (row.accuracy or 0.0, row.precision or 0.0)


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _shown(percent: float | None) -> str:
    return "-" if percent is None else f"{percent:.2f}"
