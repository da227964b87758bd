"""What real images become before anything is distilled from them, and the way back."""

import numpy as np
import pytest
import torch

from dsopt.distillation.normalisation import channels, from_description, normalized_inputs, to_bytes, zca
from dsopt.errors import InputError


def smooth(count: int, channels: int = 3, side: int = 6) -> torch.Tensor:
    """Random pictures whose neighboring pixels are similar."""
    coarse = torch.rand(count, channels, 3, 3, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear") * 255).to(torch.uint8)


def test_channels_have_mean_0_and_deviation_1() -> None:
    images = smooth(200)
    found = normalized_inputs(channels(images, 6), 6).test(images)
    assert found.mean((0, 2, 3)).abs().max() < 1e-5 and (found.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-4
    assert torch.equal(to_bytes(channels(images, 6), found), images)


def test_whitening_is_what_its_formula_says() -> None:
    images = smooth(500)
    found = normalized_inputs(zca(images, 6, regularise=0.1), 6).test(images)
    flat = images.flatten(1).double().numpy() / 255
    flat = flat - flat.mean(1, keepdims=True)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    centered = flat - flat.mean(0)
    covariance = centered.T @ centered / len(flat)
    values, vectors = np.linalg.eigh(covariance + 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance)))
    expected = centered @ vectors @ np.diag(values**-0.5) @ vectors.T
    assert np.abs(found.flatten(1).numpy() - expected).max() < 1e-3 * np.abs(expected).max()
    # Directions of much variance are left with nearly 1, all others with less.
    spread = np.linalg.eigvalsh(np.cov(found.flatten(1).numpy().T, bias=True))
    assert 0.95 < spread.max() < 1.0


def test_pictures_come_back_but_for_their_own_mean_and_length() -> None:
    images = smooth(300)
    made = zca(images, 6)
    back = made.denormalize(normalized_inputs(made, 6).test(images))
    pixels = images.float() / 255
    rest = pixels - pixels.mean((1, 2, 3), keepdim=True)
    expected = rest / rest.flatten(1).norm(dim=1)[:, None, None, None] * made.length + made.level
    assert (back - expected).abs().max() < 1e-3
    assert made.length == pytest.approx(float(rest.flatten(1).norm(dim=1).mean()), rel=1e-5)


def test_it_is_whitened_at_its_own_size_and_cut_after() -> None:
    images = smooth(100, side=8)
    made = zca(images, 6)
    whole, part = normalized_inputs(made, 6).test(images), normalized_inputs(made, 4).test(images)
    assert whole.shape[-1] == 6 and torch.equal(part, whole[:, :, 1:5, 1:5])


@pytest.mark.parametrize("make", [channels, zca])
def test_it_is_restored_from_its_description(make) -> None:
    images = smooth(100)
    made = make(images, 6)
    again = from_description(*made.describe())
    assert torch.equal(normalized_inputs(again, 6).test(images), normalized_inputs(made, 6).test(images))


def test_directions_without_variance_are_not_divided_by_0() -> None:
    images = smooth(100)
    images[:, :, 0] = 7  # never changes
    assert normalized_inputs(zca(images, 6), 6).test(images).isfinite().all()
    with pytest.raises(InputError, match=r"options\.regularise=0: must be above 0"):
        zca(images, 6, regularise=0.0)
