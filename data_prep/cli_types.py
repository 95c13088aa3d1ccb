"""TODO"""

import os
import re
from pathlib import Path
from typing import Any

import click

from data_prep.prepare.progress import Share
from data_prep.splits.label_counts import read_labels

DURATION = re.compile(r"([0-9]{1,9})([smh]?)")

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class LabelNumbers(click.ParamType[int | str]):
    """The type of ``--labels``: 6, or 5+1 for one number a class."""

    name = "N|N+N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read the number or numbers. Raises click's BadParameter."""
        try:
            return read_labels(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class LocalFolder(click.ParamType[Path]):
    """The type of a prepared set's folder, which is on this machine."""

    name = "DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read the path. Raises click's BadParameter."""
        if "://" in str(value):
            self.fail(f"{value} is a URL, which smpl-train --data-dir opens; name a folder here", param, ctx)
        return Path(value)


class Formats(click.ParamType[tuple[str, ...]]):
    """The type of ``--format``: webdataset first, for the others are made of it."""

    name = "FORMAT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Read the names. Raises click's BadParameter."""
        names = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if sorted(names) not in (["webdataset"], ["recordio", "webdataset"]):
            self.fail(f"{value!r}: choose webdataset or webdataset,recordio", param, ctx)
        return tuple(sorted(names, reverse=True))


class ShardRange(click.ParamType[Share]):
    """The type of ``--shard-range``: 2/8, or 8 where a cluster says which of them this is."""

    name = "I/N|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        """Read the range; of N alone, I is JOB_COMPLETION_INDEX. Raises click's BadParameter."""
        if isinstance(value, Share):
            return value
        index, slash, count = value.rpartition("/")
        index = index if slash else os.environ.get("JOB_COMPLETION_INDEX", "")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            self.fail(f"{value!r}: I/N with I from 0 to N - 1, or N where JOB_COMPLETION_INDEX is set", param, ctx)
        return Share(int(index), int(count))


class Duration(click.ParamType[int]):
    """The type of a time to wait, in seconds: 90 or 90s, 30m, 12h."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the duration. Raises click's BadParameter."""
        if not (found := DURATION.fullmatch(str(value))):
            self.fail(f"{value!r}: name seconds, or 90s, 30m, 12h", param, ctx)
        return int(found[1]) * SECONDS[found[2]]
