"""What an encoder is, and how it is named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from dsopt.data.decoding import pixels_of

LIBRARY = "library"  # as weights: those that the library has for a network, and downloads
FILTERS = {Image.Resampling.BICUBIC: "bicubic", Image.Resampling.BILINEAR: "bilinear"}  # that torch has, antialiased as PIL's are
SPARE = 2  # times the size that a picture is resized to; a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but not below this


class Statistics(NamedTuple):
    """By what pictures in 0..1 are standardized, channel by channel."""

    mean: Sequence[float]
    deviation: Sequence[float]


IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Preparation:
    """How pictures become inputs: resized, the middle cropped, and standardized by channel, as the library does for this network.

    Args:
        size: of the input, in pixels a side.
        resize: what the short side of a picture is resized to; both sides if `squash`.
        mean, deviation: of each channel, of values in 0..1.
    """

    size: int
    resize: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    resampling: Image.Resampling = Image.Resampling.BICUBIC
    squash: bool = False

    def drafted(self, picture: Image.Image) -> None:
        """Have a JPEG that was only opened decoded at a part of its size, if that is enough."""
        short = min(picture.size)
        if short > SPARE * self.resize:
            picture.draft("RGB", tuple(SPARE * self.resize * side // short for side in picture.size))  # type: ignore[arg-type]

    def see(self, picture: Image.Image) -> UInt8[Tensor, "3 s s"]:
        """An RGB picture of any size as the network sees it."""
        scaled = self._scaled(*picture.size)
        if scaled != picture.size:
            picture = picture.resize(scaled, self.resampling)
        left, top = (round((side - self.size) / 2) for side in picture.size)
        if (left, top) != (0, 0):
            picture = picture.crop((left, top, left + self.size, top + self.size))
        return pixels_of(picture)

    def shrunk(self, pixels: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "3 s s"]:
        """What `see` makes of a picture of these pixels, on their device.

        PIL rounds and clips between columns and rows, torch does not: values differ by 1 of 255 at most, but for 2 in 10,000, where
        a bicubic filter overshoots, that differ by up to 8.
        """
        height, width = pixels.shape[1:]
        across, down = self._scaled(width, height)
        if (across, down) != (width, height):
            resized = F.interpolate(pixels[None].float(), (down, across), mode=FILTERS[self.resampling], antialias=True)
            pixels = resized[0].round().clamp(0, 255).to(torch.uint8)
        left, top = (round((side - self.size) / 2) for side in (across, down))
        return F.pad(pixels, (-left, left + self.size - across, -top, top + self.size - down))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that a picture of these is resized to."""
        short = min(width, height)
        return (self.resize, self.resize) if self.squash else (self.resize * width // short, self.resize * height // short)

    def finish(self, images: UInt8[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
        """A batch of what `see` gives, as the network takes it."""
        mean, deviation = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (self.mean, self.deviation))
        return (images.float() / 255 - mean) / deviation


class Encoder(NamedTuple):
    """A network that embeds pictures.

    Args:
        network: a batch -> embeddings [b, d].
        see: a decoded RGB picture of any size, upright -> a tensor; those of a batch are alike in shape.
        finish: a batch of these -> the network's input, on its device.
        size: of the input, in pixels a side; None where that is not known.
        drafted: called with a picture before it is decoded.
        shrunk: the same as `see`, of pixels, uint8 [3, h, w], on any device; None where only pictures of PIL are taken.
    """

    network: nn.Module
    see: Callable[[Image.Image], Tensor]
    finish: Callable[[Tensor], Tensor]
    size: int | None
    drafted: Callable[[Image.Image], None]
    shrunk: Callable[[Tensor], Tensor] | None = None


def prepared(network: nn.Module, preparation: Preparation) -> Encoder:
    """An encoder whose pictures are prepared in the usual way."""
    shrunk = preparation.shrunk if preparation.resampling in FILTERS else None
    return Encoder(network, preparation.see, preparation.finish, preparation.size, preparation.drafted, shrunk)
