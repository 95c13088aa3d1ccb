"""Learning rates as a pure function of the step."""

import math


def rate_factor(step: int, *, wait: int, warmup: int, total: int) -> float:
    """Return the factor on a base learning rate at ``step``: zero while waiting, linear warm-up, then cosine to zero.

    The warm-up's steps count from the end of the wait, and its last one is at the full rate, where the cosine starts.
    """
    if step < wait:
        return 0.0
    if step - wait < warmup:
        return (step - wait + 1) / warmup
    progress = (step - wait - warmup) / max(1, total - wait - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
