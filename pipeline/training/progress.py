"""The progress of training: a bar on a terminal, and elsewhere a log line at each log interval."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

_SHOWN = {
    "loss": "loss {:.3f}",
    "h": "h {:+.1e}",
    "mask": "mask {:.0%}",
    "pseudo_precision": "precision {:.0%}",
    "images_per_s": "{:,.0f} images/s",
    "data_wait": "wait {:.0%}",
    "val": "val {:.2f} %",
}
"""The metrics that are shown, in this order, with the format of each."""


class Progress:
    """The display of the progress on one rank.

    Args:
        total: steps of the whole run.
        step: number of steps that are done already.
        quiet: whether to show nothing, as every rank but the first does.
    """

    def __init__(self, total: int, step: int, *, quiet: bool = False) -> None:
        self.total, self.step, self.quiet = total, step, quiet
        self.values: dict[str, float] = {}
        on_terminal = not quiet and sys.stderr.isatty()
        self.bar: Any = tqdm(total=total, initial=step, unit="step", mininterval=0.2) if on_terminal else None

    def advance(self, values: Mapping[str, float]) -> None:
        """Count one step, and show the ``values`` that were measured in it; the bar keeps the others as they were."""
        self.step += 1
        self.values |= values
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix_str(_text(self.values), refresh=False)
        elif (text := _text(values)) and not self.quiet:
            logger.info("step %d of %d: %s", self.step, self.total, text)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _text(values: Mapping[str, float]) -> str:
    return ", ".join(form.format(values[name]) for name, form in _SHOWN.items() if name in values)
