"""Mixed images: their shares, and what the classifier is fed with."""

import pytest
import torch
from digits import digits

from dsopt.augment import draws
from dsopt.augment.inputs import make_inputs
from dsopt.augment.mixing import _beta, cutmix, mixup
from dsopt.config import load
from dsopt.errors import InputError
from dsopt.pipeline.training import batches
from dsopt.training.samplers.infobatch import infobatch
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker

CPU = torch.device("cpu")


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    found = _beta(alpha, draws(0, 40_000, 0, 40_000, CPU)).double()
    expected = torch.distributions.Beta(torch.tensor(alpha).double(), torch.tensor(alpha).double())
    torch.manual_seed(0)
    theirs = expected.sample((40_000,))  # type: ignore[arg-type]
    assert abs(found.mean() - 0.5) < 0.01 and abs(found.var() / expected.variance - 1) < 0.03
    points = torch.linspace(0.01, 0.99, 99).double()
    shares = [torch.searchsorted(sample.sort().values, points) / len(sample) for sample in (found, theirs)]
    assert (shares[0] - shares[1]).abs().max() < 0.015


def test_cutmix_puts_one_rectangle_of_the_neighbour() -> None:
    images = torch.arange(6.0)[:, None, None, None].expand(6, 1, 20, 30)
    found, labels = cutmix(images, torch.eye(6), draws(3, 6, 0, 6, CPU))
    for i in range(6):
        other = (found[i, 0] == (i ^ 1)).nonzero()
        assert ((found[i] == i) | (found[i] == (i ^ 1))).all()
        box = (other.amax(0) - other.amin(0) + 1).prod() if len(other) else 0
        assert len(other) == box
        torch.testing.assert_close(float(labels[i, i ^ 1]), len(other) / 600)


def test_mixup_blends_with_the_neighbour() -> None:
    images = torch.rand(5, 1, 4, 4)
    found, labels = mixup(images, torch.eye(5), draws(0, 5, 0, 5, CPU))
    torch.testing.assert_close(found[2], labels[2, 2] * images[2] + labels[2, 3] * images[3])
    assert torch.equal(found[4], images[4])


def test_a_classifier_is_fed_with_mixed_labels_the_same_on_two_workers() -> None:
    images, labels = digits()
    inputs = make_inputs(["crop", "cutmix"], 24, "deviation", 10)
    draw = shuffle(len(labels), 32, 0)
    whole = batches(draw, images, labels, inputs, 0, Worker())(3)
    assert whole.labels.shape == (32, 10) and ((whole.labels > 0).sum(1) == 2).float().mean() > 0.5
    halves = [batches(draw, images, labels, inputs, 0, Worker(rank, 2))(3) for rank in range(2)]
    assert torch.equal(torch.cat([half.labels for half in halves]), whole.labels)
    torch.testing.assert_close(torch.cat([half.images for half in halves]), whole.images)
    soft = batches(draw, images, torch.eye(10)[labels], inputs, 0, Worker())(3)
    assert torch.equal(soft.labels, whole.labels) and torch.equal(soft.images, whole.images)


def test_mixing_where_labels_matter_otherwise_is_refused() -> None:
    images, labels = digits()
    with pytest.raises(InputError, match=r"train.sampler goes by"):
        batches(infobatch(len(labels), 32, 0, 9), images, labels, make_inputs(["mixup"], 32, None, 10), 0, Worker())
    with pytest.raises(InputError, match=r"autoencoder.augment: mixup mixes images and their labels"):
        load(["autoencoder.augment=[mixup]"])
    with pytest.raises(InputError, match=r"is for train.augment alone"):
        make_inputs(["mixup"], 32, None)
