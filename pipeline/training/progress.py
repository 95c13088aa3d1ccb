"""The progress bar: where a run stands and how it does."""

import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

_SHOWN = {
    "loss": "loss {:.3f}",
    "h": "h {:+.1e}",
    "mask": "mask {:.0%}",
    "pseudo_precision": "precision {:.0%}",
    "images_per_s": "{:,.0f} images/s",
    "data_wait": "wait {:.0%}",
    "val": "val {:.2f} %",
}


class Progress:
    """A bar on a terminal; on anything else a line now and then, so that a log file stays readable."""

    def __init__(self, total: int, step: int, *, quiet: bool = False) -> None:
        interval = 0.2 if sys.stderr.isatty() else 10
        self.bar: Any = tqdm(total=total, initial=step, unit="step", mininterval=interval, disable=quiet)
        self.shown: dict[str, float] = {}

    def advance(self, values: Mapping[str, float]) -> None:
        """Count one step; ``values`` replace those shown before."""
        self.bar.update()
        self.shown |= {name: values[name] for name in _SHOWN if name in values}
        self.bar.set_postfix_str(", ".join(_SHOWN[name].format(self.shown[name]) for name in self.shown), refresh=False)

    def close(self) -> None:
        self.bar.close()
