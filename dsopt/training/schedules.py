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


@SCHEDULES.register
def one_cycle(progress: float, *, rise: float = 0.3, start: float = 0.04, floor: float = 1e-4) -> float:
    """Rise from `start` along half a cosine for the share `rise`, then fall along another to `floor` (arXiv:1708.07120).

    With the distillation thesis's values (section 4.1): 0.0004 to 0.01 to 0.000001. It does not say when the peak is: torch's 0.3.
    """
    low, way = (start, progress / max(rise, 1e-9)) if progress < rise else (floor, (1 - progress) / max(1 - rise, 1e-9))
    return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * max(0.0, way)))
