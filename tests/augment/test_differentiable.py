"""DiffAugment: what it does to an image, each image by itself, with the gradient passing."""

import pytest
import torch

from dsopt.augment import draws
from dsopt.augment.differentiable import color, cutout, differentiable, translation
from dsopt.registry import DIFFERENTIABLE

CPU, COUNT = torch.device("cpu"), 64
NAMES = DIFFERENTIABLE.names()


def images(channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(COUNT, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def draw(seed: int = 0):
    return draws(seed, COUNT, 0, COUNT, CPU)


def test_there_are_those_of_the_paper():
    assert NAMES == ["color", "cutout", "translation"]


@pytest.mark.parametrize("name", NAMES)
def test_every_image_gets_its_own_and_the_same_draws_give_the_same(name):
    transform = DIFFERENTIABLE.build(name)
    alike = images()[:1].expand(COUNT, -1, -1, -1)
    found = transform(alike, draw())
    assert found.shape == alike.shape and len(found.flatten(1).unique(dim=0)) > 8
    assert torch.equal(transform(alike, draw()), found) and not torch.equal(transform(alike, draw(1)), found)
    alone = transform(alike[5:6], draws(0, COUNT, 5, 6, CPU))
    torch.testing.assert_close(alone, found[5:6])


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_finite_differences(name):
    transform = DIFFERENTIABLE.build(name)
    given = images(2, 8)[:3].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: transform(x, draws(0, 3, 0, 3, CPU)), given)


def test_color_as_the_formulas_say():
    given, u = images(), [torch.rand(COUNT, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    numbers = iter(u)
    found = color(given, lambda: next(numbers))
    for image, made, b, s, c in zip(given, found, *u, strict=True):
        image = image + (b - 0.5)
        image = image.mean(0) + (image - image.mean(0)) * 2 * s
        torch.testing.assert_close(made, image.mean() + (image - image.mean()) * (c + 0.5))


def test_translation_moves_whole_pixels_and_fills_with_grey():
    given = images() + 3  # nothing of it is 0
    found, moves = translation(given, draw()), set()
    for image, made in zip(given, found, strict=True):
        padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
        fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[:, y : y + 16, x : x + 16], made)]
        assert len(fits) == 1
        moves.update(fits)
    assert len({y for y, _ in moves}) == len({x for _, x in moves}) == 5


def test_cutout_hides_a_square_of_half_a_side_that_may_reach_over_the_edge():
    found, areas = cutout(images() + 3, draw()), []
    for made in found:
        hidden = (made == 0).all(0)
        rows, columns = hidden.any(1).nonzero().flatten(), hidden.any(0).nonzero().flatten()
        assert hidden.sum() == len(rows) * len(columns)
        assert 3 < len(rows) <= 8 and 3 < len(columns) <= 8
        areas.append(int(hidden.sum()))
    assert max(areas) == 64 and min(areas) < 64


def test_images_from_nought_to_one_are_changed_as_those_from_minus_one():
    given = images()
    expected = (differentiable(NAMES)(given, draw()) + 1) / 2
    torch.testing.assert_close(differentiable(NAMES, low=0.0)((given + 1) / 2, draw()), expected)
