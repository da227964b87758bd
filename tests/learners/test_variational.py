"""The variational learner: the bound by formula, learning, resuming, and making images."""

import io

import pytest
import torch
from digits import CPU, digits

from dsopt.config import Choice, GenerateConfig
from dsopt.data.batches import Batch
from dsopt.learners.variational import VariationalLearner, divergence
from dsopt.pipeline import adversaries
from dsopt.seeds import derive
from dsopt.training.loop import Learner
from dsopt.training.worker import Worker


def settings(**more) -> GenerateConfig:
    told = {"condition": "concat", "width": 8}
    given = {"generator": Choice("infogan_generator", told), "encoder": Choice("infogan_encoder", told), "latent": 6}
    return GenerateConfig(**(given | {"learning_rate": 0.003} | more))


def learner(**more) -> VariationalLearner:
    torch.manual_seed(0)
    return adversaries.variational("generate", settings(**more), (1, 16, 10), lambda b: (b.images, b.labels), Worker(device=CPU))


def batch(step: int, count: int = 32) -> Batch:
    images, labels = digits()
    chosen = torch.randint(0, 1500, (count,), generator=torch.Generator().manual_seed(step))
    return Batch(images[chosen, :, ::2, ::2].float() / 255, labels[chosen], derive(step))


def numbers(found: VariationalLearner, start: int, stop: int) -> list[dict[str, float]]:
    return [{key: float(value) for key, value in found.update(batch(step)).items()} for step in range(start, stop)]


def test_the_divergence_is_that_of_two_normal_distributions():
    mean, deviation = torch.randn(5, 3), torch.rand(5, 3) + 0.1
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, deviation), normal(torch.zeros(3), torch.ones(3))).sum(1).mean()
    torch.testing.assert_close(divergence(mean, deviation), expected)
    assert float(divergence(torch.zeros(2, 3), torch.ones(2, 3))) == 0


def test_the_loss_is_the_bound():
    for beta in (1.0, 0.25):
        (row,) = numbers(learner(beta=beta), 0, 1)
        assert row["loss"] == pytest.approx(row["reconstruction"] + beta * row["divergence"])
        assert row["reconstruction"] == pytest.approx(256 * 0.69, rel=0.05)  # a decoder that says one half everywhere


@pytest.mark.slow
def test_it_learns_to_make_what_it_is_told():
    """After some steps the nearest of all classes' mean images is mostly that of the class that was asked for (chance: a tenth)."""
    found = learner(average=0.9)
    rows = numbers(found, 0, 150)
    assert rows[-1]["loss"] < 0.65 * rows[0]["loss"]
    labels = torch.arange(10).repeat(8)
    made = found.generate(torch.randn(80, 6, generator=torch.Generator().manual_seed(1)), labels)
    assert made.shape == (80, 1, 16, 16) and float(made.min()) >= 0 and float(made.max()) <= 1
    images, all_labels = digits()
    real = images[:, :, ::2, ::2].float() / 255
    means = torch.stack([real[all_labels == label].mean(0) for label in range(10)])
    nearest = (made[:, None] - means).flatten(2).norm(dim=2).argmin(1)
    assert float((nearest == labels).float().mean()) > 0.6


def test_a_resumed_run_goes_on_to_the_last_bit():
    whole, first = learner(), learner()
    assert isinstance(whole, Learner)
    expected = numbers(whole, 0, 4)
    begun = numbers(first, 0, 2)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    resumed = learner()
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    assert begun + numbers(resumed, 2, 4) == expected
    noise, labels = torch.randn(3, 6), torch.tensor([1, 2, 3])
    assert torch.equal(resumed.generate(noise, labels), whole.generate(noise, labels))
