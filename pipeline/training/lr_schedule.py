"""Learning rate schedules: the rate is a pure function of the step."""

import math
from collections.abc import Callable, Mapping

from pipeline.config.schema import OptimizerOptions


def rate_factor(step: int, options: OptimizerOptions, *, wait: int, total: int) -> float:
    """Return the factor of the base learning rate at ``step``: 0 while the network waits, then warm-up and schedule.

    The linear warm-up begins after the wait. Its last step has the full rate, from which the schedule goes on. The
    schedule ``one-cycle`` contains a rise, and there ``warmup`` is the length of that rise.

    Args:
        step: the step, from 0.
        options: the options of the optimizer.
        wait: steps before the network begins to train.
        total: steps of the whole run.
    """
    if step < wait:
        return 0.0
    if step - wait < options.warmup and options.schedule != "one-cycle":
        return (step - wait + 1) / options.warmup
    return SCHEDULES[options.schedule](step, options, wait, total)


def _cosine(step: int, options: OptimizerOptions, wait: int, total: int) -> float:
    start = wait + options.warmup
    progress = (step - start) / max(1, total - start)
    return _cosine_between(1, 0, progress)


def _triangular(step: int, options: OptimizerOptions, wait: int, total: int) -> float:
    """Return the factor of the falling side of a triangle, from 1 to 0; the warm-up is its rising side."""
    start = wait + options.warmup
    return max(0.0, (total - step) / max(1, total - start))


def _constant(step: int, options: OptimizerOptions, wait: int, total: int) -> float:  # noqa: ARG001
    return 1.0


def _step(step: int, options: OptimizerOptions, wait: int, total: int) -> float:  # noqa: ARG001
    passed = sum(step >= milestone for milestone in options.milestones)
    return float(options.decay**passed)


def _one_cycle(step: int, options: OptimizerOptions, wait: int, total: int) -> float:
    """Return the factor of one-cycle (Smith and Topin, arXiv 1708.07120, 2017), in torch's form.

    It rises from 1/25 to 1 in 30 % of the steps and falls to 1/250,000 in the others.
    """
    length = total - wait
    top = (options.warmup or 0.3 * length) - 1
    if step - wait <= top:
        return _cosine_between(1 / 25, 1, (step - wait) / top if top else 1)
    return _cosine_between(1, 1 / 250_000, (step - wait - top) / max(1, length - 1 - top))


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(1.0, progress)))


SCHEDULES: Mapping[str, Callable[[int, OptimizerOptions, int, int], float]] = {
    "cosine": _cosine,
    "triangular": _triangular,
    "constant": _constant,
    "step": _step,
    "one-cycle": _one_cycle,
}
