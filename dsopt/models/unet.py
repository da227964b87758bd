"""The colorizer: a U-Net from an image's lightness to its colors."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.models.conditions import Sizes
from dsopt.models.initial import small_normal
from dsopt.registry import MODELS

SIZES = Sizes(lambda size: size in (32, 64, 128, 256), "32, 64, 128 or 256 pixels")
Upsample = Literal["nearest", "transposed"]


class UNet(nn.Module):
    """Lightness in -1..1 -> the channels a and b in -1..1, for images whose sides are multiples of `multiple`.

    Args:
        widths: feature maps after each halving of the image, outermost first.
        dropped: how many of the innermost doublings have dropout.
    """

    conditional = True  # on the lightness

    def __init__(self, channels: int, widths: list[int], upsample: Upsample, dropped: int, dropout: float) -> None:
        super().__init__()
        last = len(widths) - 1
        self.multiple = 2 ** len(widths)
        inputs = [1, *widths[:-1]]
        # No normalization outermost, as in pix2pix; nor innermost, where a single pixel has no variance in a batch of one.
        self.down = nn.ModuleList(_down(inputs[i], widths[i], first=i == 0, norm=0 < i < last) for i in range(last + 1))
        doublings = []
        for i in reversed(range(last + 1)):
            maps_in = widths[i] * (1 if i == last else 2)  # all but the innermost also get the skip connection
            maps_out = widths[i - 1] if i else channels
            doublings.append(_up(maps_in, maps_out, upsample, norm=i > 0, dropout=dropout if last - i < dropped else 0.0))
        self.up = nn.ModuleList(doublings)

    def forward(self, noise: Tensor | None, lightness: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """The colors of each image. `noise` is not used: only dropout makes the output random, in training."""
        x, skips = lightness, []
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = skips.pop()
        for up in self.up:
            x = up(x)
            if skips:
                x = torch.cat([x, skips.pop()], 1)
        return x.tanh()


class NearestConv(nn.Conv2d):
    """Nearest-neighbor doubling and a 3x3 convolution, [b, c, h, w] -> [b, k, 2h, 2w], with 4/9 of the multiplications.

    Doubling makes some of the 3x3 pixels under the kernel equal; the weights of equal pixels can be summed first. The result is a
    transposed 4x4 convolution of stride 2. On a CPU, forward and backward at 32 pixels take half the time.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2*h 2*w"]:
        sums = F.avg_pool2d(F.pad(self.weight, (1, 1, 1, 1)), 2, stride=1, divisor_override=1)
        return F.conv_transpose2d(input, sums.flip(2, 3).transpose(0, 1), self.bias, stride=2, padding=1)


def _down(inputs: int, outputs: int, first: bool, norm: bool) -> nn.Sequential:
    modules: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
    modules.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=not norm))
    return nn.Sequential(*modules, *([nn.BatchNorm2d(outputs)] if norm else []))


def _up(inputs: int, outputs: int, upsample: Upsample, norm: bool, dropout: float) -> nn.Sequential:
    modules: list[nn.Module] = [nn.ReLU()]
    if upsample == "nearest":
        modules.append(NearestConv(inputs, outputs, bias=not norm))
    else:
        modules.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=not norm))
    modules += [nn.BatchNorm2d(outputs)] if norm else []
    return nn.Sequential(*modules, *([nn.Dropout(dropout)] if dropout else []))


@MODELS.register(kind="colorizer", input_size=None, low=-1.0, sizes=SIZES, conditioned_on="lightness")
def unet(
    channels: int,
    size: int,
    *,
    width: int = 64,
    upsample: Literal["nearest", "transposed"] = "nearest",
    dropped: int = 1,
    dropout: float = 0.5,
) -> nn.Module:
    """The encoder and decoder of pix2pix with skips (Isola et al. 2017, arXiv:1611.07004, appendix 6.1), for 32 to 256 pixels.

    4x4 convolutions of stride 2 halve the image down to one pixel, with 1, 2, 4, 8, 8, ... times `width` maps. As in the
    colorization study's code, doubling is nearest-neighbor and a 3x3 convolution (`transposed` is pix2pix's own), and only the
    innermost doubling has dropout (`dropped=1`; 3 in pix2pix). Unlike in that code, the last layer has its skip connection.
    """
    widths = [width * min(2**i, 8) for i in range(size.bit_length() - 1)]
    return small_normal(UNet(channels, widths, upsample, dropped, dropout))
