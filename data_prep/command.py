"""Run a click command so that a user's mistake is one line on stderr and an exit code, never a traceback.

0 done, 2 wrong usage or configuration, 3 bad data, 4 stopped by a signal, 1 anything else.
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from data_prep.errors import UserError
from data_prep.labels import read_labels
from data_prep.ledger import Share

USAGE, STOPPED = 2, 4
DURATION = re.compile(r"([0-9]{1,9})([smh]?)")
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception, so that no handler of damaged input swallows it."""


class _ExitCodes(click.Command):
    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command; in standalone mode exit the process."""
        run = partial(super().main, args, standalone_mode=False, **extra)
        return sys.exit(exit_code(run)) if standalone_mode else run()


class Command(_ExitCodes):
    """A click command with these exit codes, for any package's console script."""


class CommandGroup(_ExitCodes, click.Group):
    """A click group with these exit codes."""


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


def exit_code(action: Callable[[], object]) -> int:
    """Run the action with the stop signals caught and turn what it raises into a line and an exit code."""
    try:
        with stop_signals():
            result = action()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except UserError as error:
        return _complain(str(error), error.exit_code)
    except (Stopped, KeyboardInterrupt, click.Abort) as stop:
        return _complain(f"stopped by {stop or 'SIGINT'}; the same command goes on from here", STOPPED)
    except OSError as error:
        return _complain(str(error), 1)
    return result if isinstance(result, int) else 0


@contextmanager
def stop_signals() -> Iterator[None]:
    """Raise Stopped on SIGTERM and SIGINT; outside the main thread, where Python allows no handler, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(signal.Signals(number).name)


def _complain(text: str, code: int) -> int:
    click.echo(f"error: {' '.join(text.split())}", err=True)
    return code
