"""sRGB to CIE LAB (D65, 2-degree observer) and back, batched and differentiable, and the scaling that colorizers are trained in."""

import torch
from jaxtyping import Float
from torch import Tensor

# The matrix from linear sRGB to XYZ, and the white point: those of scikit-image, so that values agree. Its white point is not
# exactly the sum of the matrix rows: gray has |a| and |b| of up to 0.01.
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_AB = 110.0  # a and b of sRGB colors lie in -108..99


def rgb_to_lab(rgb: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """sRGB in 0..1 to LAB: L in 0..100, a and b in about -108..99 (CIE 15; IEC 61966-2-1)."""
    # torch.where differentiates both branches: without clamp_min, the power's gradient near 0 would be inf, and inf * 0 is NaN.
    linear = torch.where(rgb > 0.04045, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(linear, rgb.new_tensor(_TO_XYZ)) / rgb.new_tensor(_WHITE)[:, None, None]
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """LAB to sRGB in 0..1; colors outside of its gamut are clipped, channel by channel."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([a / 500 + y, y, (y - b / 200).clamp_min(0)], 1)
    xyz = torch.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787) * lab.new_tensor(_WHITE)[:, None, None]
    linear = _mix(xyz, torch.tensor(_TO_XYZ, dtype=torch.float64).inverse().to(lab))
    rgb = torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)
    return rgb.clamp(0, 1)


def split(rgb: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 2 h w"]]:
    """sRGB in 0..1 to a colorizer's input L / 50 - 1 and target ab / 110, both in -1..1 (Isola et al. 2017, arXiv:1611.07004)."""
    lab = rgb_to_lab(rgb)
    return lab[:, :1] / 50 - 1, lab[:, 1:] / _AB


def join(lightness: Float[Tensor, "b 1 h w"], ab: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 3 h w"]:
    """The inverse of `split`: sRGB in 0..1, clipped to its gamut."""
    return lab_to_rgb(torch.cat([(lightness + 1) * 50, ab * _AB], 1))


def _mix(images: Float[Tensor, "b 3 h w"], matrix: Float[Tensor, "3 3"]) -> Float[Tensor, "b 3 h w"]:
    """The matrix times every pixel. Not by matmul, which autocast would run in bfloat16, with 8 bits of precision."""
    return (matrix[:, :, None, None] * images[:, None]).sum(2)
