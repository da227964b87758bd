"""Learning-rate schedules: `progress` in 0..1 of a whole run -> a factor on the learning rate."""

import math

from dsopt.registry import SCHEDULES


@SCHEDULES.register
def constant(progress: float) -> float:
    """Always the full rate, as in the selection paper."""
    return 1.0


@SCHEDULES.register
def linear(progress: float, *, after: float = 0.0, floor: float = 0.0) -> float:
    """The full rate for the share `after`, then a straight fall to `floor`, usual in adversarial training (arXiv:1802.05957)."""
    return 1.0 if progress < after else floor + (1 - floor) * (1 - progress) / max(1 - after, 1e-9)


@SCHEDULES.register
def cosine(progress: float, *, warmup: float = 0.05, floor: float = 0.0) -> float:
    """Rise linearly over the first `warmup` share, then fall along half a cosine to `floor` (arXiv:1608.03983)."""
    if progress < warmup:
        return (progress + 0.01) / (warmup + 0.01)
    fall = (progress - warmup) / (1 - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))
