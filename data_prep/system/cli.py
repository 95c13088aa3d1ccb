"""The base of all click commands: a user's mistake becomes one line on stderr and an exit code, never a traceback.

Exit codes: 0 done, 2 wrong usage or configuration, 3 bad data, 4 stopped by a signal, 1 anything else.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click

from data_prep.system.errors import UserError
from data_prep.system.logs import configure_logging
from data_prep.system.signal_handlers import Stopped, handle_stop_signals, raise_stopped
from data_prep.system.version import VERSION

USAGE, STOPPED = 2, 4
VERBOSE = click.Option(["-v", "--verbose"], count=True, show_default=False, help="Log more.")
QUIET = click.Option(["-q", "--quiet"], count=True, show_default=False, help="Log only warnings; -qq: only errors.")


class _ExitCodes(click.Command):
    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]
        """Run the command; in standalone mode exit the process."""
        run = partial(super().main, args, standalone_mode=False, **extra)
        return sys.exit(exit_code(run)) if standalone_mode else run()


class Command(_ExitCodes):
    """A click command with these exit codes and with ``-h``, ``-v`` and ``-q``, for any package's console script."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **_with_short_help(options))
        self.params += [VERBOSE, QUIET]

    def invoke(self, ctx: click.Context) -> Any:
        """Configure logging as ``-v`` and ``-q`` say, then run the command."""
        configure_logging(ctx.params.pop("verbose") - ctx.params.pop("quiet"))
        return super().invoke(ctx)


class CommandGroup(_ExitCodes, click.Group):
    """A click group with these exit codes, ``-h`` and ``--version``; its commands have ``-v`` and ``-q``."""

    command_class = Command

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **_with_short_help(options))
        self.params.append(VERSION)


def _with_short_help(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a command that ``-h`` and ``--help`` explain."""
    settings = {"help_option_names": ["-h", "--help"]} | (options.get("context_settings") or {})
    return options | {"context_settings": settings}


def exit_code(action: Callable[[], object]) -> int:
    """Run the action, print the error that it raises as one line, and return the exit code.

    SIGTERM and SIGINT stop the action in the main thread.
    """
    try:
        with handle_stop_signals(raise_stopped):
            result = action()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        return _print_error(error.format_message(), error.exit_code)
    except UserError as error:
        return _print_error(str(error), error.exit_code)
    except (Stopped, KeyboardInterrupt, click.Abort) as stop:
        return _print_error(f"stopped by {stop or 'SIGINT'}; the same command goes on from here", STOPPED)
    except OSError as error:
        return _print_error(str(error), 1)
    return result if isinstance(result, int) else 0


def _print_error(text: str, code: int) -> int:
    click.echo(f"error: {' '.join(text.split())}", err=True)
    return code
