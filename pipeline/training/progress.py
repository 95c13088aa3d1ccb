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
"""The metrics that are shown, in this order, and how."""


class Progress:
    """The display of one rank; a quiet one shows nothing.

    Args:
        total: steps of the whole run.
        step: steps that are done already.
        quiet: for every rank but the first.
    """

    def __init__(self, total: int, step: int, *, quiet: bool = False) -> None:
        self.total, self.step, self.quiet = total, step, quiet
        self.values: dict[str, float] = {}
        on_terminal = not quiet and sys.stderr.isatty()
        self.bar: Any = tqdm(total=total, initial=step, unit="step", mininterval=0.2) if on_terminal else None

    def advance(self, values: Mapping[str, float]) -> None:
        """Count one step; ``values`` are what was measured in it, and replace those that are shown."""
        self.step += 1
        self.values |= {name: values[name] for name in _SHOWN if name in values}
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix_str(self._text(), refresh=False)
        elif values and not self.quiet:
            logger.info("step %d of %d: %s", self.step, self.total, self._text())

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _text(self) -> str:
        return ", ".join(_SHOWN[name].format(self.values[name]) for name in _SHOWN if name in self.values)
