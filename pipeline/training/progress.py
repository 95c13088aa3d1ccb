"""The progress of training: two lines that change on a terminal, and elsewhere a log line at each log interval."""

import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

from pipeline.training.time_left import TimeLeft, duration, pace

logger = logging.getLogger(__name__)

_SHOWN = {
    "loss": "loss {:.3f}",
    "h": "h {:+.1e}",
    "mask": "mask {:.0%}",
    "pseudo_precision": "precision {:.0%}",
    "images_per_s": "{:,.0f} images/s",
    "data_wait": "wait {:.0%}",
}
"""The metrics that are shown after the validation accuracy, in this order, with the format of each."""


class Progress:
    """The display of the progress on one rank.

    Args:
        total: steps of the whole run.
        step: number of steps that are done already.
        quiet: whether to show nothing, as every rank but the first does.
    """

    def __init__(self, total: int, step: int, *, quiet: bool = False) -> None:
        self.left, self.quiet = TimeLeft(total, step), quiet
        self.values: dict[str, float] = {}
        self.val_step = 0
        self.terminal = _TwoLines(total, step) if not quiet and sys.stderr.isatty() else None

    def advance(self, values: Mapping[str, float], *, logs: bool = False) -> None:
        """Count one step, and keep the ``values`` that were measured in it.

        Args:
            values: metrics by name; ``val`` is the accuracy on the validation split, in percent.
            logs: whether the log interval ends with this step, so that a line is logged if there is no terminal.
        """
        self.left.count()
        self.values |= values
        if "val" in values:
            self.val_step = self.left.step
        if self.terminal is not None:
            self.terminal.advance(", ".join(self._metrics()) if values else None)
        elif logs and not self.quiet:
            logger.info("%s", self._line())

    def close(self) -> None:
        if self.terminal is not None:
            self.terminal.close()

    def _line(self) -> str:
        """Return the line of this step: the validation accuracy comes first, so that a narrow window shows it."""
        step, total = self.left.step, self.left.total
        val, *others = self._metrics() if "val" in self.values else ["", *self._metrics()]
        times = [f"{duration(self.left.seconds)} left"] if step < total else []
        parts = [val, *times, pace(self.left.step_seconds), *others]
        return f"step {step} of {total} ({100 * step // total} %): {', '.join(filter(None, parts))}"

    def _metrics(self) -> Iterator[str]:
        """Yield each metric as text: the validation accuracy, with its step if that is an earlier one, then others."""
        if "val" in self.values:
            earlier = f" at step {self.val_step}" if self.val_step < self.left.step else ""
            yield f"val {self.values['val']:.2f} %{earlier}"
        yield from (form.format(self.values[name]) for name, form in _SHOWN.items() if name in self.values)


class _TwoLines:
    """A line of metrics, cut to the width of the terminal, and a bar with the times below it."""

    def __init__(self, total: int, step: int) -> None:
        self.metrics: Any = tqdm(position=0, leave=True, dynamic_ncols=True, bar_format="{desc}{bar}")
        self.bar: Any = tqdm(
            total=total, initial=step, unit="step", position=1, leave=True, dynamic_ncols=True, mininterval=0.2
        )

    def advance(self, metrics: str | None) -> None:
        """Move the bar by one step, and show other metrics if there are some."""
        if metrics is not None:
            self.metrics.set_description_str(metrics)
        self.bar.update()

    def close(self) -> None:
        """Leave both lines on the terminal, and the cursor below them."""
        self.metrics.close()
        self.bar.close()
