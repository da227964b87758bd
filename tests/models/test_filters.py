"""Fixed filters: waves of colors, and what they say of pictures."""

import pytest
import torch
import torch.nn.functional as F
from digits import digits
from torch import Tensor

from dsopt.models.filters import CELLS, FIELD, SIDE, answers, filters
from dsopt.training.easiest import few_pixels, margins


def noise(channels: int, count: int = 4) -> Tensor:
    return torch.randint(256, (count, channels, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("channels", "count"), [(1, 25), (2, 27), (3, 27)])
def test_filters_are_orthogonal(channels: int, count: int):
    flat = F.normalize(filters(channels).flatten(1), dim=1)
    assert flat.shape == (count, channels * FIELD**2)
    torch.testing.assert_close(flat @ flat.T, torch.eye(count), rtol=0, atol=1e-5)
    assert answers(noise(channels)).shape == (4, 2 * count * CELLS**2)


def test_a_level_picture_is_its_color_alone():
    gray, red = torch.full((1, 3, SIDE, SIDE), 200, dtype=torch.uint8), torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    red[:, 0] = 255
    assert int((answers(gray) > 1e-2).sum()) == CELLS**2  # lightness, to one side, in all cells
    assert int((answers(red) > 1e-2).sum()) == 3 * CELLS**2


def test_answers_are_means_of_what_each_place_says():
    image = noise(3, 1)
    x, bank = image[0].double() / 255 - 0.5, filters(3).double()
    places = range(0, SIDE - FIELD + 1, 2)
    said = torch.stack([torch.stack([(bank * x[:, i : i + FIELD, j : j + FIELD]).sum((1, 2, 3)) for j in places]) for i in places])
    ends = [(i * len(places) // CELLS, -(-(i + 1) * len(places) // CELLS)) for i in range(CELLS)]
    for side, sign in enumerate((1, -1)):
        cells = [[(sign * said[a:b, c:d]).relu().mean((0, 1)).sqrt() for c, d in ends] for a, b in ends]
        expected = torch.stack([torch.stack(row) for row in cells]).permute(2, 0, 1)
        found = answers(image).view(2, len(bank), CELLS, CELLS)[side]
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


def test_they_say_more_of_digits_than_a_few_pixels():
    pixels, labels = digits()
    known = [float((margins(x, labels) > 0).float().mean()) for x in (few_pixels(pixels), answers(pixels))]
    assert known[1] > 0.95 > known[0]
