"""The types of the options and arguments of ``smpl-data``; the training commands use some of them too."""

import os
import re
from pathlib import Path
from typing import Any

import click

from data_prep.prepare.options import ShardRange
from data_prep.splits.label_counts import read_labels

DURATION = re.compile(r"([0-9]{1,9})([smh]?)")
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
"""Seconds in each unit of a duration."""


class LabelNumbers(click.ParamType[int | str]):
    """The type of ``--labels``: 6 images in all, 5+1 for the classes one by one, or 10% of every class."""

    name = "N|N+N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read the number or numbers. Raises click's BadParameter."""
        try:
            return read_labels(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class LocalFolder(click.ParamType[Path]):
    """The type of the folder of a prepared set on this machine; a URL is refused."""

    name = "DIR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read the path. Raises click's BadParameter."""
        if "://" in str(value):
            self.fail(f"{value} is a URL, which smpl-train --data-dir opens; name a folder here", param, ctx)
        return Path(value)


class Formats(click.ParamType[tuple[str, ...]]):
    """The type of ``--format``: names of formats, webdataset first, because the others are made from it."""

    name = "FORMAT,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Read the names. Raises click's BadParameter."""
        names = tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if sorted(names) not in (["webdataset"], ["recordio", "webdataset"]):
            self.fail(f"{value!r}: choose webdataset or webdataset,recordio", param, ctx)
        return tuple(sorted(names, reverse=True))


class ShardRangeType(click.ParamType[ShardRange]):
    """The type of ``--shard-range``: 2/8 for index 2 of 0 to 7, or 8 where JOB_COMPLETION_INDEX is the index."""

    name = "I/N|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ShardRange:
        """Read the range; without an index, take it from JOB_COMPLETION_INDEX. Raises click's BadParameter."""
        if isinstance(value, ShardRange):
            return value
        index, slash, count = value.rpartition("/")
        index = index if slash else os.environ.get("JOB_COMPLETION_INDEX", "")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            self.fail(f"{value!r}: I/N with I from 0 to N - 1, or N where JOB_COMPLETION_INDEX is set", param, ctx)
        return ShardRange(int(index), int(count))


class Duration(click.ParamType[int]):
    """The type of a time to wait, in seconds: 90 or 90s, 30m, 12h."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the duration. Raises click's BadParameter."""
        if not (found := DURATION.fullmatch(str(value))):
            self.fail(f"{value!r}: name seconds, or 90s, 30m, 12h", param, ctx)
        return int(found[1]) * SECONDS[found[2]]
