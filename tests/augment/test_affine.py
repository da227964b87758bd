"""Rotation and blur against torchvision's, one image at a time; shifts and cut squares against slicing."""

import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from dsopt.augment import draws
from dsopt.augment.affine import rotate, rotation_maps, warp
from dsopt.augment.blocks import BLOCK
from dsopt.augment.blur import blur
from dsopt.augment.cutout import cutout
from dsopt.augment.geometry import shift

CPU = torch.device("cpu")


def pictures(count: int, height: int = 32, width: int = 30) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_rotate_is_torchvisions():
    images, u = pictures(8), torch.linspace(0, 0.99, 8)
    found = rotate(images, lambda: u, degrees=40.0)
    for image, mine, share in zip(images, found, u, strict=True):
        angle = float(-40 * (2 * share - 1))
        expected = tv.rotate(image, angle, InterpolationMode.BILINEAR)
        # At the border torchvision fades to black over a pixel of its own.
        torch.testing.assert_close(mine[:, 8:-8, 8:-8], expected[:, 8:-8, 8:-8], rtol=0, atol=1e-4)


def test_rotate_by_a_quarter_and_its_padding():
    images = pictures(2, 9, 9)
    quarter = warp(images, rotation_maps(torch.tensor([math.pi / 2, -math.pi / 2])))
    torch.testing.assert_close(quarter[0], images[0].rot90(-1, (1, 2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(quarter[1], images[1].rot90(1, (1, 2)), rtol=0, atol=1e-5)
    white = torch.ones(1, 1, 32, 32)
    assert rotate(white, lambda: torch.ones(1)).min() == 0
    torch.testing.assert_close(rotate(white, lambda: torch.ones(1), padding="border"), white)


def test_rotate_draws_all_angles():
    white, half = torch.ones(400, 1, 33, 33), torch.zeros(400, 1, 33, 33)
    half[:, :, :17] = white[:, :, :17]
    found = rotate(half, draws(0, 400, 0, 400, CPU), padding="border")
    edge = found[:, 0, :, 32].sum(1) - found[:, 0, :, 0].sum(1)  # how much lower it ends on the right
    assert edge.min() > -32 * math.tan(math.radians(25)) - 1 and edge.max() < 32 * math.tan(math.radians(25)) + 1
    assert edge.min() < -13 and edge.max() > 13 and abs(edge.mean()) < 1.5


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_blur_is_torchvisions(share):
    images = pictures(4)
    found = blur(images, lambda: torch.full((4,), share))
    expected = tv.gaussian_blur(images, [15, 15], [0.25 + 2 * share] * 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("transform", [rotate, blur])
def test_blocks_are_as_every_image_by_itself(transform):
    images, u = pictures(2 * BLOCK + 3, 9, 7), torch.rand(2 * BLOCK + 3)
    alone = [transform(images[i : i + 1], lambda i=i: u[i : i + 1]) for i in range(len(u))]
    found = transform(images, lambda: u)
    torch.testing.assert_close(found, torch.cat(alone))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert transform(images[:0], lambda: u[:0]).shape == (0, 3, 9, 7)


def test_blur_of_images_smaller_than_its_kernel():
    images = pictures(3, 5, 4)
    found = blur(images, lambda: torch.tensor([0.0, 0.5, 1.0]))
    assert (found.flatten(2).std(2) <= images.flatten(2).std(2)).all() and found[2].std() < found[0].std()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shift_moves_up_to_so_many_pixels(dtype):
    images = (1 + 200 * pictures(300, 9, 8)).to(dtype)
    padded = torch.nn.functional.pad(images, [2] * 4)
    found, seen = shift(images, draws(0, 300, 0, 300, CPU), most=2), set()
    for image, around in zip(found, padded, strict=True):
        places = [(t, left) for t in range(5) for left in range(5) if torch.equal(image, around[:, t : t + 9, left : left + 8])]
        seen.update(places)
        assert len(places) == 1
    assert len(seen) == 25


def test_cutout_blackens_a_square_that_may_lie_partly_outside():
    found = cutout(torch.ones(2000, 3, 32, 32), draws(0, 2000, 0, 2000, CPU))
    assert torch.equal(found[:, 0], found[:, 1])
    black = (found[:, 0] == 0).flatten(1).sum(1)
    assert black.min() == 64 and black.max() == 256  # a quarter of it in the corner
    centre = cutout(torch.ones(1, 1, 32, 32), lambda: torch.tensor([0.5]))[0, 0]
    assert (centre[8:24, 8:24] == 0).all() and centre.sum() == 32 * 32 - 256
