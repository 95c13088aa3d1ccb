"""What is known of a shard once it is written: enough to make the manifest without reading anything again."""

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from data_prep.dataset.manifest import Shard
from data_prep.images.pixel_stats import Sums


@dataclass(frozen=True)
class Skipped:
    """An image that could not be had, and why."""

    split: str
    label: int
    name: str
    reason: str


@dataclass(frozen=True)
class Receipt:
    """A piece of the plan, done: its shard, or None where no image of it could be had."""

    piece: str
    shard: Shard | None
    counts: tuple[int, ...]
    """Samples of each class, by their labels or hidden truths."""
    unknown: int
    """Samples of which nobody knows the class."""
    keys: tuple[int, ...]
    """Of the samples, in order, if the split is the labeled one; else none."""
    smallest: tuple[int, ...]
    """[H, W, C], the least of each over all images."""
    largest: tuple[int, ...]
    sums: Sums
    skipped: tuple[Skipped, ...]

    def to_row(self) -> dict[str, Any]:
        """The receipt as plain JSON."""
        row = asdict(self)
        row["sums"] = [self.sums.count, [str(value) for value in self.sums.total + self.sums.squares]]
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Receipt":
        """Read what :meth:`to_row` wrote."""
        count, values = row["sums"]
        numbers = tuple(map(Fraction, values))
        half = len(numbers) // 2
        lists = {name: tuple(row[name]) for name in ("counts", "keys", "smallest", "largest")}
        return cls(
            **row
            | lists
            | {
                "shard": None if row["shard"] is None else Shard(**row["shard"]),
                "sums": Sums(count, numbers[:half], numbers[half:]),
                "skipped": tuple(Skipped(**one) for one in row["skipped"]),
            }
        )
