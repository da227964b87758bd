"""Learning-rate schedules: progress of a whole run in 0..1 -> factor on the learning rate."""

import math

from dsopt.registry import SCHEDULES


@SCHEDULES.register
def constant(progress: float) -> float:
    """A constant learning rate, as in the selection paper."""
    return 1.0


@SCHEDULES.register
def linear(progress: float, *, after: float = 0.0, floor: float = 0.0) -> float:
    """The full rate for the fraction `after`, then linear decay to `floor`; usual in adversarial training (arXiv:1802.05957)."""
    return 1.0 if progress < after else floor + (1 - floor) * (1 - progress) / max(1 - after, 1e-9)


@SCHEDULES.register
def cosine(progress: float, *, warmup: float = 0.05, floor: float = 0.0) -> float:
    """Linear warmup for the fraction `warmup`, then cosine decay to `floor` (arXiv:1608.03983)."""
    if progress < warmup:
        return (progress + 0.01) / (warmup + 0.01)  # 0.01, so that the first step has a rate above 0
    fall = (progress - warmup) / (1 - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall)))


@SCHEDULES.register
def one_cycle(progress: float, *, rise: float = 0.3, start: float = 0.04, floor: float = 1e-4) -> float:
    """Cosine increase from `start` for the fraction `rise`, then cosine decay to `floor` (arXiv:1708.07120).

    The defaults are the distillation thesis's (section 4.1): with a rate of 0.01, from 0.0004 to 0.01 to 0.000001. The thesis does
    not say when the peak is; 0.3 is torch's default.
    """
    if progress < rise:
        low, height = start, progress / max(rise, 1e-9)
    else:
        low, height = floor, (1 - progress) / max(1 - rise, 1e-9)
    return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * max(0.0, height)))
