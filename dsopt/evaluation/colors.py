"""Errors of colorized images compared with the true ones, and colorfulness."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.data.colors import rgb_to_lab
from dsopt.errors import InputError

BLOCK = 256  # images compared at a time
_WINDOW, _SIGMA, _C1, _C2 = 11, 1.5, 0.01**2, 0.03**2  # of SSIM, from its paper, for values in 0..1


def colors(true: UInt8[Tensor, "n 3 h w"], generated: UInt8[Tensor, "n 3 h w"]) -> dict[str, float]:
    """The means of the measures below over all images, and by how much the generated images are more colorful.

    Raises:
        InputError: images are smaller than the 11 pixels of SSIM's window.
    """
    found: dict[str, list[Tensor]] = {}
    for real, fake in zip(true.split(BLOCK), generated.split(BLOCK), strict=True):
        a, b = real.float() / 255, fake.float() / 255
        colorful = colorfulness(b)
        values = {"ab_error": ab_error(a, b), "psnr": psnr(a, b), "ssim": ssim(a, b), "colorfulness": colorful}
        for name, value in (values | {"colorfulness_gain": colorful - colorfulness(a)}).items():
            found.setdefault(name, []).append(value.double())
    return {name: float(torch.cat(values).mean()) for name, values in found.items()}


def ab_error(true: Float[Tensor, "b 3 h w"], generated: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
    """The mean absolute error of a and b, in units of LAB; images are sRGB in 0..1."""
    return (rgb_to_lab(true)[:, 1:] - rgb_to_lab(generated)[:, 1:]).abs().mean((1, 2, 3))


def psnr(true: Float[Tensor, "b c h w"], generated: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """The peak signal-to-noise ratio 10 log10(1 / mean squared error) in dB, for values in 0..1; at most 100, to stay finite."""
    return -10 * (true - generated).square().mean((1, 2, 3)).clamp_min(1e-10).log10()


def ssim(true: Float[Tensor, "b c h w"], generated: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """The structural similarity (SSIM) of values in 0..1 (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    The window is a Gaussian of 11 pixels with standard deviation 1.5, entirely inside the image. The result is the mean over
    positions and channels.
    """
    channels, side = true.shape[1], min(true.shape[2:])
    if side < _WINDOW:
        raise InputError(f"structural similarity needs images of at least {_WINDOW} pixels per side; these have {side}.")
    a, b = true.double(), generated.double()
    at = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    bell = (-at.square() / (2 * _SIGMA**2)).exp()
    window = torch.outer(bell, bell).div(bell.sum() ** 2).expand(channels, 1, -1, -1)
    ma, mb, aa, bb, ab = (F.conv2d(x, window, groups=channels) for x in (a, b, a * a, b * b, a * b))
    similar = (2 * ma * mb + _C1) * (2 * (ab - ma * mb) + _C2)
    similar /= (ma.square() + mb.square() + _C1) * (aa - ma.square() + bb - mb.square() + _C2)
    return similar.mean((1, 2, 3)).to(true.dtype)


def colorfulness(rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
    """The colorfulness of sRGB images in 0..1 (Hasler and Süsstrunk 2003, doi:10.1117/12.477378).

    It is on the scale of bytes: 0 is gray, 59 quite colorful, 109 extremely colorful.
    """
    red, green, blue = (255 * rgb).flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], 1)
    return opponents.var(2, correction=0).sum(1).sqrt() + 0.3 * opponents.mean(2).square().sum(1).sqrt()
