"""Progressive resolution: a training begins on small pictures, whose steps take less time, and ends on whole ones."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from dsopt.augment.geometry import resized

UNTIL = 0.8  # of a run: from then on pictures are whole, so that the last steps see what will be tested
MULTIPLE = 4  # of pixels that a side has; more sides would gain nothing, and every new one costs a GPU its choice of kernels


def growing(start: float) -> Callable[[float], float]:
    """Progress of a run in 0..1 -> the share of a picture's side to train on, from `start` evenly to 1 at UNTIL.

    Progressive resizing of Howard's entry to DAWNBench (2018), growing as in Composer's `ProgressiveResizing`.
    """
    return lambda progress: min(1.0, start + (1 - start) * progress / UNTIL)


def side(whole: int, share: float) -> int:
    """The side in pixels of a picture that is to have at most a share of its whole side."""
    return whole if share == 1 else MULTIPLE * max(1, int(share * whole / MULTIPLE + 1e-9))


def smaller(images: Float[Tensor, "b c s s"], share: float) -> Float[Tensor, "b c s2 s2"]:
    """Pictures resized, whole, to a share of their side."""
    found = side(images.shape[-1], share)
    return images if found == images.shape[-1] else resized(images, found)
