"""How near coloured pictures come to the true ones, and how colourful they are."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.data.colors import rgb_to_lab
from dsopt.errors import InputError

BLOCK = 256  # pictures compared at once
_WINDOW, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2  # of the similarity's paper, for values in 0..1


def colors(true: UInt8[Tensor, "n 3 h w"], made: UInt8[Tensor, "n 3 h w"]) -> dict[str, float]:
    """The means over all pictures of what is below, and how much more colourful the made ones are.

    Raises:
        InputError: pictures too small for the similarity's window of 11 pixels.
    """
    found: dict[str, list[Tensor]] = {}
    for real, fake in zip(true.split(BLOCK), made.split(BLOCK), strict=True):
        a, b = real.float() / 255, fake.float() / 255
        colourful = colourfulness(b)
        values = {"ab_error": ab_error(a, b), "psnr": psnr(a, b), "ssim": ssim(a, b), "colourfulness": colourful}
        for name, value in (values | {"colourfulness_gain": colourful - colourfulness(a)}).items():
            found.setdefault(name, []).append(value.double())
    return {name: float(torch.cat(values).mean()) for name, values in found.items()}


def ab_error(true: Float[Tensor, "b 3 h w"], made: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
    """The mean absolute error of a and b of LAB, in LAB's units; pictures are sRGB in 0..1."""
    return (rgb_to_lab(true)[:, 1:] - rgb_to_lab(made)[:, 1:]).abs().mean((1, 2, 3))


def psnr(true: Float[Tensor, "b c h w"], made: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """10 log10(1 / mean squared error) in dB, for values in 0..1; at most 100, so that means stay finite."""
    return -10 * (true - made).square().mean((1, 2, 3)).clamp_min(1e-10).log10()


def ssim(true: Float[Tensor, "b c h w"], made: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """The structural similarity of values in 0..1, as Wang et al. (2004, doi 10.1109/TIP.2003.819861): a Gaussian window of 11
    pixels and deviation 1.5, wholly inside the picture; the mean over places and channels.
    """
    channels, side = true.shape[1], min(true.shape[2:])
    if side < _WINDOW:
        raise InputError(f"structural similarity needs pictures of at least {_WINDOW} pixels a side; these have {side}.")
    a, b = true.double(), made.double()
    at = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    bell = (-at.square() / (2 * _SIGMA**2)).exp()
    window = torch.outer(bell, bell).div(bell.sum() ** 2).expand(channels, 1, -1, -1)
    ma, mb, aa, bb, ab = (F.conv2d(x, window, groups=channels) for x in (a, b, a * a, b * b, a * b))
    similar = (2 * ma * mb + _C1) * (2 * (ab - ma * mb) + _C2)
    similar /= (ma.square() + mb.square() + _C1) * (aa - ma.square() + bb - mb.square() + _C2)
    return similar.mean((1, 2, 3)).to(true.dtype)


def colourfulness(rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
    """How colourful pictures of sRGB in 0..1 are, on the scale of bytes: 0 grey, 59 quite, 109 extremely (Hasler and Süsstrunk
    2003, doi 10.1117/12.477378).
    """
    red, green, blue = (255 * rgb).flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1)
    return opponents.var(2, correction=0).sum(1).sqrt() + 0.3 * opponents.mean(2).square().sum(1).sqrt()
