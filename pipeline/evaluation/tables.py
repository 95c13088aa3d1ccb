"""The results of an evaluation as numbers and as text: all images, each class, and the confusions between classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 10
"""The most rows of a table in the text: classes, or pairs of classes."""


@dataclass(frozen=True)
class Score:
    """The score of one network on a split."""

    accuracy: float
    """Percentage of the images of known class that is predicted correctly."""
    loss: float
    """Mean cross-entropy in nats."""


@dataclass(frozen=True)
class ClassScore:
    """The score of one class."""

    name: str
    images: int
    """Number of the split's images of this class."""
    accuracy: float | None
    """The percentage of them that is predicted correctly (recall); None if there are none."""
    precision: float | None
    """The percentage of the predictions of this class that is correct; None if there are none."""


@dataclass(frozen=True)
class Confusion:
    """How often one class is predicted in place of another."""

    name: str
    """The true class."""
    taken_for: str
    """The predicted class."""
    images: int
    percent: float
    """The same number, in percent of all images of the true class."""


@dataclass(frozen=True)
class Evaluation:
    """The results of a model on a split."""

    classes: Sequence[str]
    """The names of the classes, in the order of the labels."""
    score: Score
    """The score of the network, or of the ensemble."""
    members: Mapping[str, Score]
    """The scores of an ensemble's members by name; empty for a single network."""
    confusion: NDArray[np.int64]
    """Numbers of images by true class and predicted class, [classes, classes]."""
    unknown: int = 0
    """Number of images of unknown class, which are not scored."""

    @property
    def images(self) -> int:
        """Number of images that are scored."""
        return int(self.confusion.sum())

    def by_class(self) -> list[ClassScore]:
        """Return the score of each class, in the order of the labels."""
        correct = self.confusion.diagonal().tolist()
        true, predicted = self.confusion.sum(1).tolist(), self.confusion.sum(0).tolist()
        return [
            ClassScore(name, images, _percent(hits, images), _percent(hits, predictions))
            for name, images, hits, predictions in zip(self.classes, true, correct, predicted, strict=True)
        ]

    def confused(self) -> list[Confusion]:
        """Return the most frequent confusions, at most ``MAX_ROWS``, the most frequent first."""
        wrong = self.confusion * (1 - np.eye(len(self.classes), dtype=np.int64))
        images = self.confusion.sum(1)
        cells = np.argsort(-wrong, axis=None, kind="stable")[:MAX_ROWS]
        pairs = [divmod(int(cell), len(self.classes)) for cell in cells]
        return [
            Confusion(self.classes[true], self.classes[predicted], count, 100 * count / images[true])
            for true, predicted in pairs
            if (count := int(wrong[true, predicted]))
        ]

    def tree(self) -> dict[str, Any]:
        """Return the results as a tree that JSON can hold."""
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
    """Yield the lines of the text: the scores, the worst classes and the most frequent confusions."""
    yield from _scores(evaluation)
    yield from _classes(evaluation)
    yield from _confusions(evaluation)


def _scores(evaluation: Evaluation) -> Iterator[str]:
    rows = {"ensemble" if evaluation.members else "accuracy": evaluation.score, **evaluation.members}
    width = max(map(len, rows)) + 2
    for name, score in rows.items():
        yield f"{name:<{width}}{score.accuracy:.2f} %, loss {score.loss:.4f}"


def _classes(evaluation: Evaluation) -> Iterator[str]:
    rows = sorted((row for row in evaluation.by_class() if row.accuracy is not None), key=_worst_first)
    shown = rows[:MAX_ROWS]
    width = max(22, *(len(row.name) + 2 for row in shown))
    yield ""
    yield f"{'class, the worst first':<{width}}{'images':>10}{'accuracy %':>12}{'precision %':>13}"
    for row in shown:
        yield f"{row.name:<{width}}{row.images:>10}{_shown(row.accuracy):>12}{_shown(row.precision):>13}"
    if len(rows) > MAX_ROWS:
        yield f"and {len(rows) - MAX_ROWS} more"


def _confusions(evaluation: Evaluation) -> Iterator[str]:
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
