"""Crops and flips against slicing, one image at a time."""

import pytest
import torch

from dsopt.augment import draws
from dsopt.augment.geometry import center_crop, crop, flip

CPU = torch.device("cpu")


def named_terms(*shape: int) -> torch.Tensor:
    """Images whose every element is another number, so that a window tells where it was cut."""
    return torch.arange(torch.Size(shape).numel()).view(shape).contiguous(memory_format=torch.channels_last)


def offsets(images: torch.Tensor, cut: torch.Tensor) -> list[tuple[int, int]]:
    """Where every window was cut, after a check that it is that window."""
    height, width, size = *images.shape[2:], cut.shape[2]
    found = []
    for image, window in zip(images, cut, strict=True):
        top, left = divmod(int(window[0, 0, 0] - image[0, 0, 0]), width)
        assert 0 <= top <= height - size and 0 <= left <= width - size
        assert torch.equal(window, image[:, top : top + size, left : left + size])
        found.append((top, left))
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_cuts_every_window_about_equally_often(channels):
    images = named_terms(2400, channels, 6, 5)
    found = offsets(images, crop(images, draws(0, 2400, 0, 2400, CPU), size=3))
    counts = [found.count((top, left)) for top in range(4) for left in range(3)]
    assert sum(counts) == 2400 and min(counts) > 150 and max(counts) < 250  # 200 each


def test_crop_reaches_the_corners():
    images = named_terms(2, 1, 32, 32)
    assert offsets(images, crop(images, lambda: torch.zeros(2), size=24)) == [(0, 0)] * 2
    largest = torch.full((2,), 1 - 2**-24)  # the greatest float32 below one
    assert offsets(images, crop(images, lambda: largest, size=24)) == [(8, 8)] * 2
    assert torch.equal(crop(images, lambda: largest, size=32), images)


def test_crop_draws_top_and_left_apart():
    images = named_terms(500, 1, 32, 32)
    found = torch.tensor(offsets(images, crop(images, draws(1, 500, 0, 500, CPU)))).double()
    assert abs(float(torch.corrcoef(found.T)[0, 1])) < 0.2


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_and_flip_stay_channels_last(dtype):
    images = torch.zeros(8, 3, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
    for moved in (crop(images, draws(0, 8, 0, 8, CPU)), flip(images, draws(0, 8, 0, 8, CPU))):
        assert moved.is_contiguous(memory_format=torch.channels_last) and moved.dtype == dtype


def test_crop_takes_the_plain_layout_too():
    images = named_terms(4, 3, 8, 7)
    expected = crop(images, draws(0, 4, 0, 4, CPU), size=5)
    assert torch.equal(crop(images.contiguous(), draws(0, 4, 0, 4, CPU), size=5), expected)


def test_flip_mirrors_half_of_the_images():
    images = named_terms(1000, 2, 3, 4)
    flipped = flip(images, draws(0, 1000, 0, 1000, CPU))
    mirrored = [torch.equal(after, before.flip(2)) for before, after in zip(images, flipped, strict=True)]
    same = [torch.equal(after, before) for before, after in zip(images, flipped, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 440 < sum(mirrored) < 560


@pytest.mark.parametrize("channels", [1, 3])
def test_flip_takes_both_layouts_and_keeps_them(channels):
    plain = torch.rand(20, channels, 5, 4)
    draw = draws(0, 20, 0, 20, CPU)()
    expected = torch.where((draw < 0.5)[:, None, None, None], plain.flip(3), plain)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = flip(plain.contiguous(memory_format=layout), lambda: draw)
        assert torch.equal(found, expected) and found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size, top, left", [(24, 4, 3), (31, 0, 0), (1, 15, 15)])
def test_centre_crop(size, top, left):
    images = named_terms(3, 2, 32, 31)
    assert torch.equal(center_crop(images, size), images[:, :, top : top + size, left : left + size])
