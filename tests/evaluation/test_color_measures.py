"""Color measures against scikit-image and by their formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dsopt.errors import InputError
from dsopt.evaluation.colors import ab_error, colorfulness, colors, psnr, ssim


def pictures(n: int = 4, height: int = 24, width: int = 17) -> tuple[Tensor, Tensor]:
    """Smooth pictures, and the same with noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    return (smooth * 255).round().byte(), (noisy * 255).round().byte()


def floats() -> tuple[Tensor, Tensor]:
    true, made = pictures()
    return true.float() / 255, made.float() / 255


def test_similarity_and_ratio_are_those_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    true, made = floats()
    for i in range(len(true)):
        a, b = (x[i].permute(1, 2, 0).double().numpy() for x in (true, made))
        similar = metrics.structural_similarity(
            a, b, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert float(ssim(true, made)[i]) == pytest.approx(similar, abs=1e-6)
        assert float(psnr(true, made)[i]) == pytest.approx(metrics.peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)


def test_ratio_by_its_formula():
    """An error of 10 of 255 everywhere: 20 log10(255 / 10) dB. No error: 100 dB."""
    true = torch.full((2, 3, 5, 5), 100 / 255)
    made = torch.stack([true[0] + 10 / 255, true[1]])
    assert psnr(true, made).tolist() == pytest.approx([20 * math.log10(25.5), 100])


def test_error_of_colors_is_that_of_a_and_b():
    color = pytest.importorskip("skimage.color")
    true, made = floats()
    a, b = (color.rgb2lab(x.double().permute(0, 2, 3, 1).numpy())[..., 1:] for x in (true, made))
    np.testing.assert_allclose(ab_error(true, made).numpy(), np.abs(a - b).mean((1, 2, 3)), atol=1e-3)


def test_colorfulness_by_its_formula():
    """Grey has none; half red, half blue: rg is 255 and 0, yb is 127.5 and -255."""
    grey = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    assert float(colorfulness(grey)) == pytest.approx(0, abs=1e-3)
    two = torch.zeros(1, 3, 2, 2)
    two[:, 0, 0], two[:, 2, 1] = 1, 1
    expected = math.hypot(127.5, 191.25) + 0.3 * math.hypot(127.5, -63.75)
    assert float(colorfulness(two)) == pytest.approx(expected, rel=1e-6)


def test_all_together_are_means_over_pictures():
    true, made = pictures(260, 16, 16)  # more than a block
    found = colors(true, made)
    a, b = true.float() / 255, made.float() / 255
    assert found["psnr"] == pytest.approx(float(psnr(a, b).mean()), rel=1e-5)
    assert found["ssim"] == pytest.approx(float(ssim(a, b).mean()), rel=1e-5)
    assert found["colorfulness_gain"] == pytest.approx(float((colorfulness(b) - colorfulness(a)).mean()), rel=1e-4)
    same = colors(true, true)
    assert same["ssim"] == pytest.approx(1) and same["psnr"] == 100 and same["ab_error"] == same["colorfulness_gain"] == 0


def test_grey_is_less_colorful_than_the_truth():
    true, _ = pictures()
    grey = true.float().mean(1, keepdim=True).round().byte().expand(-1, 3, -1, -1)
    found = colors(true, grey)
    assert found["colorfulness"] == pytest.approx(0, abs=1e-3) and found["colorfulness_gain"] < -10 and found["ab_error"] > 5


def test_pictures_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match="at least 11 pixels per side; these have 8"):
        ssim(torch.zeros(1, 3, 8, 20), torch.zeros(1, 3, 8, 20))
