"""Brightness, contrast and standardisation against slow references, one image at a time."""

import pytest
import torch

from dsopt.augment import draws
from dsopt.augment.light import brightness, contrast, standardise

CPU = torch.device("cpu")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(64, 3, 7, 5, generator=torch.Generator().manual_seed(0))


def test_brightness_shifts_every_image_by_a_number_of_its_own(images):
    shifts = [
        float((after - before).mean()) for before, after in zip(images, brightness(images, draws(0, 64, 0, 64, CPU)), strict=True)
    ]
    u = draws(0, 64, 0, 64, CPU)()
    for i, after in enumerate(brightness(images, draws(0, 64, 0, 64, CPU), most=0.5)):
        torch.testing.assert_close(after, images[i] + (2 * u[i] - 1) * 0.5)
    assert min(shifts) < -0.2 and max(shifts) > 0.2 and max(map(abs, shifts)) <= 63 / 255 + 1e-6


def test_brightness_reaches_both_ends(images):
    torch.testing.assert_close(brightness(images, lambda: torch.zeros(64), most=0.25), images - 0.25)
    torch.testing.assert_close(brightness(images, lambda: torch.ones(64), most=0.25), images + 0.25)


def test_contrast_scales_every_channel_about_its_mean(images):
    u = draws(3, 64, 0, 64, CPU)()
    for i, after in enumerate(contrast(images, draws(3, 64, 0, 64, CPU), low=0.5, high=2.0)):
        for c in range(3):
            mean = images[i, c].mean()
            torch.testing.assert_close(after[c], mean + (images[i, c] - mean) * (0.5 + 1.5 * u[i]))


def test_contrast_reaches_both_ends(images):
    means = images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(contrast(images, lambda: torch.zeros(64), low=0.0), means.expand_as(images))
    torch.testing.assert_close(contrast(images, lambda: torch.ones(64), high=1.0), images)


def test_standardise_divides_by_the_deviation(images):
    for before, after in zip(images, standardise(images), strict=True):
        torch.testing.assert_close(after, (before - before.mean()) / before.std(correction=0))


def test_standardise_by_variance_is_the_text_to_the_letter(images):
    for before, after in zip(images, standardise(images, "variance"), strict=True):
        torch.testing.assert_close(after, (before - before.mean()) / before.var(correction=0))


def test_standardise_has_a_floor_for_constant_images():
    assert torch.equal(standardise(torch.full((2, 3, 4, 4), 0.7)).round(decimals=5), torch.zeros(2, 3, 4, 4))
    nearly = torch.zeros(1, 1, 4, 4)
    nearly[0, 0, 0, 0] = 0.01  # its deviation is 0.0024, the floor 1/4
    torch.testing.assert_close(standardise(nearly), (nearly - nearly.mean()) * 4)
    torch.testing.assert_close(standardise(nearly, "variance"), (nearly - nearly.mean()) * 16)
