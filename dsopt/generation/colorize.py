"""Colorization of photographs of any size, by a network that was trained on small square images."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.data import colors

PredictAb = Callable[[Float[Tensor, "1 1 h w"]], Float[Tensor, "1 2 h w"]]
ROWS = 256  # of a photograph, converted at a time: several float copies of a large photograph would not fit in memory
LONGEST = 8  # the largest ratio of longer to shorter side; longer photographs are squeezed for the network


def colorized(pixels: UInt8[Tensor, "3 h w"], predict: PredictAb, side: int, multiple: int) -> UInt8[Tensor, "3 h w"]:
    """The photograph with its own lightness, at full resolution, and the network's colors.

    The network's input is the lightness, resized so that its shorter side has `side` pixels, as in training, since objects then
    have the size that the network knows; and padded to a multiple of `multiple`. The predicted colors are enlarged (bicubic), which
    is enough: the eye sees details by lightness.

    Args:
        predict: lightness in -1..1 to a and b in -1..1; moves its input to the network's device.
    """
    lightness = _by_rows(_lightness, pixels[None])
    h, w = lightness.shape[2:]
    across, down = (min(round(side * length / min(h, w)), LONGEST * side) for length in (w, h))
    small = F.interpolate(lightness, (down, across), mode="bicubic", antialias=True).clamp(-1, 1)
    padded = F.pad(small, (0, -across % multiple, 0, -down % multiple), mode="replicate")
    with torch.inference_mode():
        ab = predict(padded)[:, :, :down, :across].float().cpu()
    return _by_rows(_pixels, lightness, F.interpolate(ab, (h, w), mode="bicubic"))[0]


def _lightness(pixels: UInt8[Tensor, "1 3 h w"]) -> Float[Tensor, "1 1 h w"]:
    return colors.split(pixels.float() / 255)[0]


def _pixels(lightness: Float[Tensor, "1 1 h w"], ab: Float[Tensor, "1 2 h w"]) -> UInt8[Tensor, "1 3 h w"]:
    return (colors.join(lightness, ab) * 255).round().to(torch.uint8)


def _by_rows(function: Callable[..., Tensor], *images: Tensor) -> Tensor:
    return torch.cat([function(*rows) for rows in zip(*(image.split(ROWS, 2) for image in images), strict=True)], 2)
