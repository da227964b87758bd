"""Transforms against slow references, and what every registered one promises."""

import pytest
import torch
from torch import Tensor

from dsopt.augment import draws
from dsopt.augment.geometry import centre_crop, crop, flip
from dsopt.augment.inputs import make_inputs
from dsopt.augment.light import brightness, contrast, standardise
from dsopt.registry import AUGMENTATIONS

CPU = torch.device("cpu")


def pictures(n: int = 32, channels: int = 3, side: int = 32) -> Tensor:
    """uint8 [n, c, side, side], channels last, no two pixels of an image alike by chance only."""
    pixels = torch.randint(0, 256, (n, side, side, channels), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return pixels.permute(0, 3, 1, 2)


def fixed(*numbers: Tensor):
    """Draws that give these numbers one after another."""
    left = list(numbers)
    return lambda: left.pop(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_cuts_the_window_that_was_drawn(channels: int) -> None:
    images = pictures(4, channels)
    top, left = torch.tensor([0.0, 0.999, 0.5, 0.12]), torch.tensor([0.999, 0.0, 0.5, 0.99])
    cut = crop(images, fixed(top, left), size=24)
    for image, window, (t, s) in zip(images, cut, [(0, 8), (8, 0), (4, 4), (1, 8)], strict=True):
        assert torch.equal(window, image[:, t : t + 24, s : s + 24])


def test_crop_reaches_every_offset_and_stays_channels_last() -> None:
    place = torch.arange(32, dtype=torch.uint8)
    images = torch.stack([place[:, None].expand(32, 32), place.expand(32, 32), place.expand(32, 32)])  # says where a pixel is
    many = images.expand(4000, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    cut = crop(many, draws(0, 4000, 0, 4000, CPU))
    assert set(cut[:, 0, 0, 0].tolist()) == set(cut[:, 1, 0, 0].tolist()) == set(range(9))
    assert cut.is_contiguous(memory_format=torch.channels_last)


def test_flip_mirrors_about_half_and_leaves_the_others() -> None:
    images = pictures(1000)
    flipped = flip(images, draws(1, 1000, 0, 1000, CPU))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored | same).all() and 430 < int(mirrored.sum()) < 570


def test_light_against_one_image_at_a_time() -> None:
    images, u = pictures(6).float() / 255, torch.linspace(0, 0.99, 6)
    bright, hard = brightness(images, fixed(u), most=0.2), contrast(images, fixed(u), low=0.5, high=1.5)
    for i in range(6):
        assert torch.allclose(bright[i], images[i] + (2 * u[i] - 1) * 0.2)
        means = images[i].mean((1, 2))
        for channel in range(3):
            expected = means[channel] + (images[i, channel] - means[channel]) * (0.5 + u[i])
            assert torch.allclose(hard[i, channel], expected, atol=1e-6)


@pytest.mark.parametrize("by", ["deviation", "variance"])
def test_standardise(by) -> None:
    images = pictures(5).float() / 255
    for image, done in zip(images, standardise(images, by), strict=True):
        scale = image.std(correction=0) if by == "deviation" else image.var(correction=0)
        assert torch.allclose(done, (image - image.mean()) / scale, atol=1e-5)


def test_standardise_of_a_flat_image_is_finite() -> None:
    assert torch.equal(standardise(torch.full((1, 3, 24, 24), 0.7)).abs() < 1e-3, torch.ones(1, 3, 24, 24, dtype=torch.bool))


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_contract(name: str) -> None:
    """Every transform: repeatable, per image, one image's result not depending on the others, its input left alone."""
    images = pictures(16) if AUGMENTATIONS.traits(name).bytes else pictures(16).float() / 255
    transform, before = AUGMENTATIONS.build(name), images.clone()
    first, again = (transform(images, draws(3, 16, 0, 16, CPU)) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(images, before)
    assert first.dtype == images.dtype and first.shape[:2] == images.shape[:2]
    other = transform(images, draws(4, 16, 0, 16, CPU))
    assert not torch.equal(first, other)
    halves = [transform(images[a:b], draws(3, 16, a, b, CPU)) for a, b in ((0, 5), (5, 16))]
    assert torch.equal(torch.cat(halves), first)


def test_inputs_of_tests_are_the_centre_and_nothing_random() -> None:
    images = pictures(3)
    inputs = make_inputs(["crop", "flip", "brightness", "contrast"], 24, "deviation")
    assert torch.allclose(inputs.test(images), standardise(images[:, :, 4:28, 4:28].float() / 255))
    assert torch.equal(make_inputs([], 24, None).test(images), images[:, :, 4:28, 4:28].float() / 255)
    assert inputs.train(images, draws(0, 3, 0, 3, CPU)).shape == (3, 3, 24, 24)
    assert torch.equal(centre_crop(images, 32), images)
