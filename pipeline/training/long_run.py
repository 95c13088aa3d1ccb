"""A warning, after the first steps on a CPU, that a run will take days, with the options that make it hours."""

import logging

from pipeline.config.schema import Config
from pipeline.data.resident.loader import ResidentLoader
from pipeline.data.training_splits import TrainingData
from pipeline.training.time_left import TimeLeft, duration, pace

logger = logging.getLogger(__name__)

FIRST_STEPS = 3
"""Number of steps from which the time of a run is estimated."""
LONG_SECONDS = 24 * 60 * 60
"""The shortest remaining time of which a run warns."""


def warn_of_long_run(left: TimeLeft, config: Config, data: TrainingData) -> None:
    """Log a warning after the first steps of this process if the others take more than a day."""
    if left.done == FIRST_STEPS and left.seconds > LONG_SECONDS:
        estimate = f"about {duration(left.seconds)} are left on this CPU, at {pace(left.step_seconds)}"
        logger.warning("%s; to make it hours: %s", estimate, ", ".join(_remedies(config, data)))


def _remedies(config: Config, data: TrainingData) -> list[str]:
    """Return the options that shorten a run, with the present values of those that have one."""
    side = data.task.shape[1]
    streamed = data.loader is not ResidentLoader
    return [
        "--budget-minutes 120",
        *([f"--set augment.size={side // 2} (now {side})"] if streamed else []),
        f"a smaller --batch-size (now {config.batch_size}) or --mu (now {config.mu})",
        f"a smaller network (--set model..., now {config.model['name']})",
    ]
