"""Photographs of any size coloured by a network that learned on small square ones."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.data import colors

Colours = Callable[[Float[Tensor, "1 1 h w"]], Float[Tensor, "1 2 h w"]]
ROWS = 256  # of a photograph that are converted at once: a large one in floats, several times over, would fill the memory
LONGEST = 8  # times its shorter side: longer ones are squeezed for the network


def colorized(pixels: UInt8[Tensor, "3 h w"], colours: Colours, side: int, multiple: int) -> UInt8[Tensor, "3 h w"]:
    """The photograph with its own lightness, pixel by pixel, and the network's colours.

    The network sees it with its shorter side of the `side` pixels that it learned on, where things are as large as it knows them,
    filled up at the edges to a `multiple`. Its colours are enlarged (bicubic): the eye sees details by their lightness.

    Args:
        colours: lightness in -1..1 -> a and b in -1..1, both on the device where the network is.
    """
    lightness = _by_rows(_lightness, pixels[None])
    h, w = lightness.shape[2:]
    across, down = (min(round(side * length / min(h, w)), LONGEST * side) for length in (w, h))
    small = F.interpolate(lightness, (down, across), mode="bicubic", antialias=True).clamp(-1, 1)
    filled = F.pad(small, (0, -across % multiple, 0, -down % multiple), mode="replicate")
    with torch.inference_mode():
        ab = colours(filled)[:, :, :down, :across].float().cpu()
    return _by_rows(_pixels, lightness, F.interpolate(ab, (h, w), mode="bicubic"))[0]


def _lightness(pixels: UInt8[Tensor, "1 3 h w"]) -> Float[Tensor, "1 1 h w"]:
    return colors.split(pixels.float() / 255)[0]


def _pixels(lightness: Float[Tensor, "1 1 h w"], ab: Float[Tensor, "1 2 h w"]) -> UInt8[Tensor, "1 3 h w"]:
    return (colors.join(lightness, ab) * 255).round().to(torch.uint8)


def _by_rows(function: Callable[..., Tensor], *images: Tensor) -> Tensor:
    return torch.cat([function(*rows) for rows in zip(*(image.split(ROWS, 2) for image in images), strict=True)], 2)
