"""The statistics of one written shard: enough to make the manifest without reading an image again."""

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from data_prep.dataset.manifest import Shard
from data_prep.images.pixel_stats import Sums


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be read and was left out."""

    split: str
    label: int
    """The class; -1 where unknown."""
    name: str
    """The image's name as the user knows it."""
    reason: str


@dataclass(frozen=True)
class ShardStats:
    """The statistics of one shard. The field names are keys in the files of an unfinished preparation."""

    piece: str
    """The name of the planned shard."""
    shard: Shard | None
    """The written shard; None if none of its images could be read."""
    counts: tuple[int, ...]
    """Samples of each class, by their labels or hidden classes."""
    unknown: int
    """Samples whose class is not known."""
    keys: tuple[int, ...]
    """Keys of the samples in order, for a shard of the labeled split; empty for the other splits."""
    smallest: tuple[int, ...]
    """[H, W, C], each the minimum over all images."""
    largest: tuple[int, ...]
    """[H, W, C], each the maximum over all images."""
    sums: Sums
    skipped: tuple[SkippedImage, ...]

    @property
    def split(self) -> str:
        """The split of the shard."""
        return self.piece.partition("-")[0]

    def to_row(self) -> dict[str, Any]:
        """Return the statistics as plain JSON."""
        row = asdict(self)
        row["sums"] = [self.sums.count, [str(value) for value in self.sums.total + self.sums.squares]]
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "ShardStats":
        """Read what :meth:`to_row` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        count, values = row["sums"]
        numbers = tuple(map(Fraction, values))
        half = len(numbers) // 2
        tuples = {name: tuple(row[name]) for name in ("counts", "keys", "smallest", "largest")}
        parsed = {
            "shard": None if row["shard"] is None else Shard(**row["shard"]),
            "sums": Sums(count, numbers[:half], numbers[half:]),
            "skipped": tuple(SkippedImage(**image) for image in row["skipped"]),
        }
        return cls(**row | tuples | parsed)
