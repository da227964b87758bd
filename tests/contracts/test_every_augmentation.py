"""The contract of augmentations, tested for every registered one; new ones are found automatically."""

import pytest
import torch

from dsopt.augment import draws
from dsopt.augment.inputs import mixes
from dsopt.registry import AUGMENTATIONS

CPU = torch.device("cpu")
NAMES = AUGMENTATIONS.names()
ALONE = [name for name in NAMES if not mixes(name)]
MIXING = [name for name in NAMES if mixes(name)]


def images(channels: int, dtype: torch.dtype) -> torch.Tensor:
    pixels = torch.randint(0, 256, (16, channels, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return pixels if dtype == torch.uint8 else pixels.to(dtype) / 255


def cases() -> list:
    both, floats = [torch.uint8, torch.float32], [torch.float32]
    return [(name, dtype) for name in ALONE for dtype in (both if AUGMENTATIONS.traits(name).bytes else floats)]


def test_there_are_those_of_the_paper():
    assert {"crop", "flip", "brightness", "contrast"} <= set(NAMES)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name, dtype", cases())
def test_an_augmentation(name, dtype, channels):
    augment, given = AUGMENTATIONS.build(name), images(channels, dtype)
    before = given.clone()
    found = augment(given, draws(0, 16, 0, 16, CPU))
    side = AUGMENTATIONS.options(name).get("size", 32)
    assert found.shape == (16, channels, side, side) and found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(found.float()).all()
    assert torch.equal(given, before), "the input was modified"
    assert found.data_ptr() != given.data_ptr()
    assert torch.equal(augment(given, draws(0, 16, 0, 16, CPU)), found), "the same draws gave something else"
    assert not torch.equal(augment(given, draws(1, 16, 0, 16, CPU)), found), "other draws changed nothing"


@pytest.mark.parametrize("name, dtype", cases())
def test_an_augmentation_treats_every_image_by_itself(name, dtype):
    augment, given = AUGMENTATIONS.build(name), images(3, dtype)
    alike = given[:1].expand(16, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    found = augment(alike, draws(0, 16, 0, 16, CPU))
    assert len(found.flatten(1).unique(dim=0)) > 1, "all images got the same"
    alone = augment(alike[5:6], draws(0, 16, 5, 6, CPU))
    torch.testing.assert_close(alone, found[5:6])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", MIXING)
def test_a_mixture(name, channels):
    augment, given = AUGMENTATIONS.build(name), images(channels, torch.float32)
    labels = torch.eye(16)
    before = given.clone()
    found, shares = augment(given, labels, draws(0, 16, 0, 16, CPU))
    assert found.shape == given.shape and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(given, before) and torch.equal(labels, torch.eye(16)), "the input was modified"
    torch.testing.assert_close(shares.sum(1), torch.ones(16))
    assert (shares >= 0).all() and ((shares > 0).sum(1) <= 2).all() and len(shares.amax(1).unique()) > 4
    means = torch.einsum("ij,jchw->ichw", shares, given).mean((1, 2, 3))
    torch.testing.assert_close(found.mean((1, 2, 3)), means, rtol=0.1, atol=0.0)  # as much of each image as its label says
    again = augment(given, labels, draws(0, 16, 0, 16, CPU))
    assert torch.equal(again[0], found) and torch.equal(again[1], shares)
    halves = [augment(given[a:b], labels[a:b], draws(0, 16, a, b, CPU)) for a, b in ((0, 6), (6, 16))]
    for whole, parts in zip((found, shares), zip(*halves, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts), whole)
    alone, label = augment(given[:1], labels[:1], draws(0, 1, 0, 1, CPU))
    assert torch.equal(alone, given[:1]) and torch.equal(label, labels[:1])


@pytest.mark.parametrize("name", NAMES)
def test_an_augmentation_is_documented(name):
    assert AUGMENTATIONS.summary(name).endswith(".")
