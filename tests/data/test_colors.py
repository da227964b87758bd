"""LAB compared with scikit-image, the inverse, and finite gradients."""

import numpy as np
import pytest
import torch

from dsopt.data.colors import join, lab_to_rgb, rgb_to_lab, split


def every_color(step: int = 15) -> torch.Tensor:
    """A grid of sRGB colors, with the corners, as two images."""
    values = torch.arange(0, 256, step) / 255
    grid = torch.stack(torch.meshgrid(values, values, values, indexing="ij"))
    return grid.reshape(3, 2, -1, len(values)).transpose(0, 1).contiguous()


def by_skimage(function: str, images: torch.Tensor) -> np.ndarray:
    color = pytest.importorskip("skimage.color")
    return getattr(color, function)(images.double().permute(0, 2, 3, 1).numpy()).transpose(0, 3, 1, 2)


def test_lab_is_that_of_scikit_image():
    np.testing.assert_allclose(rgb_to_lab(every_color()).numpy(), by_skimage("rgb2lab", every_color()), rtol=0, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*negative Z values")
def test_rgb_is_that_of_scikit_image_also_out_of_gamut():
    lab = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * torch.tensor([100.0, 220, 220])[:, None, None]
    lab -= torch.tensor([0.0, 110, 110])[:, None, None]
    np.testing.assert_allclose(lab_to_rgb(lab).numpy(), by_skimage("lab2rgb", lab), rtol=0, atol=1e-3)


def test_known_colors():
    """White, black, and red of sRGB: L 53.24, a 80.09, b 67.20."""
    colors = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]])[:, :, None, None]
    expected = torch.tensor([[100.0, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]])[:, :, None, None]
    torch.testing.assert_close(rgb_to_lab(colors), expected, rtol=0, atol=0.011)


def test_split_and_join_undo_each_other_within_half_a_byte():
    lightness, ab = split(every_color())
    assert lightness.shape[1] == 1 and ab.shape[1] == 2
    assert lightness.min() == -1 and lightness.max() <= 1.0001 and 0.95 < ab.abs().max() < 1
    torch.testing.assert_close(join(lightness, ab), every_color(), rtol=0, atol=0.5 / 255)


def test_gradients_are_finite_at_black_and_white_and_right_between():
    corners = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2).clone().requires_grad_()
    rgb_to_lab(corners).sum().backward()
    assert corners.grad is not None and corners.grad.isfinite().all()
    ab = torch.zeros(1, 2, 1, 2, requires_grad=True)
    join(torch.tensor([[[[-1.0, 0.2]]]]), ab).sum().backward()
    assert ab.grad is not None and ab.grad.isfinite().all() and ab.grad[..., 1].abs().sum() > 0
    between = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(rgb_to_lab, between.requires_grad_())


def test_autocast_does_not_round_colors():
    with torch.autocast("cpu", torch.bfloat16):
        found = rgb_to_lab(every_color(51))
    torch.testing.assert_close(found, rgb_to_lab(every_color(51)), rtol=0, atol=1e-3)
