"""A linear classifier of a few pixels, and the images that it finds easy."""

import pytest
import torch
from digits import digits
from torch.nn.functional import one_hot

from dsopt.training.easiest import RIDGE, SIDE, easiest, few_pixels, margins


def features(n: int = 60, d: int = 7, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator, dtype=torch.float64), torch.randint(classes, (n,), generator=generator)


def test_margins_are_those_of_fits_without_the_row():
    x, labels = features()
    n = len(x)
    known = torch.cat([(x - x.mean(0)) / x.std(0, correction=0), torch.ones(n, 1, dtype=x.dtype)], 1)
    y = 2.0 * one_hot(labels, 3).to(x.dtype) - 1
    for row, found in enumerate(margins(x, labels).tolist()):
        kept = torch.arange(n) != row
        a, b = known[kept], y[kept]
        said = known[row] @ torch.linalg.solve(a.T @ a + RIDGE * n * torch.eye(a.shape[1], dtype=a.dtype), a.T @ b)
        own, others = said[labels[row]], said[torch.arange(3) != labels[row]].max()
        assert found == pytest.approx(float(own - others), abs=1e-9)


def test_wrong_labels_are_hard():
    pixels, labels = digits()
    wrong = torch.zeros(len(labels), dtype=torch.bool)
    wrong[::10] = True
    given = torch.where(wrong, (labels + 1 + torch.arange(len(labels)) % 9) % 10, labels)
    chosen = easiest(few_pixels(pixels), given, 0.5)
    assert int((chosen & wrong).sum()) <= 0.05 * int(wrong.sum())
    assert float((margins(few_pixels(pixels), labels) > 0).float().mean()) > 0.75  # it does know digits


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_every_class_keeps_its_share(share: float):
    pixels, labels = digits()
    chosen = easiest(few_pixels(pixels[:500]), labels[:500], share)
    counts, all_counts = labels[:500][chosen].bincount(), labels[:500].bincount()
    assert counts.tolist() == [round(share * count) for count in all_counts.tolist()]


def test_probabilities_count_as_their_largest():
    pixels, labels = digits()
    soft = 0.6 * one_hot(labels, 10).float() + 0.04
    assert torch.equal(easiest(few_pixels(pixels), soft, 0.5), easiest(few_pixels(pixels), labels, 0.5))


@pytest.mark.parametrize("labels", [[0], [3, 3, 3], [0, 1], [5, 2, 5]])
def test_few_images_keep_one_of_each_class(labels: list[int]):
    pixels = digits()[0][: len(labels)]
    given = torch.tensor(labels)
    chosen = easiest(few_pixels(pixels), given, 0.1)
    assert sorted(given[chosen].tolist()) == sorted(set(labels))


def test_one_class_is_known_by_itself():
    assert margins(torch.randn(5, 2), torch.zeros(5, dtype=torch.int64)).isfinite().all()


def test_equal_images_are_taken_in_order():
    chosen = easiest(torch.ones(10, 3), torch.tensor([0, 1] * 5), 0.4)
    assert chosen.tolist() == [True] * 4 + [False] * 6


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 8), (3, 160, 224), (3, 3, 500)])
def test_any_size_becomes_a_few_pixels(shape: tuple[int, int, int]):
    images = torch.randint(256, (5, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert few_pixels(images).shape == (5, shape[0] * SIDE**2)
    level = torch.full((1, *shape), 77, dtype=torch.uint8)
    assert few_pixels(level).unique().tolist() == [77]
