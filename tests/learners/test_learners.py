"""Learners on real digits."""

import copy

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from dsopt.data.batches import Batch, in_order
from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.learners.classifier import Classifier
from dsopt.learners.parts import compute_dtype
from dsopt.registry import LOSSES, MODELS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """512 digits as inputs, float [n, 1, 24, 24] in 0..1, and their labels."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images[:512] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    return nn.functional.interpolate(pixels, size=24, mode="bilinear"), torch.tensor(labels[:512])


def classifier(**settings) -> Classifier:
    torch.manual_seed(0)
    fixed = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "precision": "fp32"}
    return Classifier(MODELS.build("classifier24", {"width": 8})(1, 10), device=CPU, **{**fixed, **settings})


def batches(digits, steps: int, size: int = 32) -> list[Batch]:
    images, labels = digits
    return [Batch(images[i * size % 512 :][:size], labels[i * size % 512 :][:size], i) for i in range(steps)]


def test_weight_decay_shrinks_the_dense_weights_and_nothing_else(digits) -> None:
    learner = classifier(learning_rate=1.0, momentum=0.0, weight_decay=0.1)
    network = learner.networks["classifier"]
    before = copy.deepcopy(network.state_dict())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    learner.optimizers["classifier"].step()
    dense = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter, before[name] * (0.9 if name in dense else 1.0)), name


def test_averaged_weights_follow_their_formula(digits) -> None:
    learner = classifier(average=0.5)
    average = next(learner.networks["average"].parameters()).clone()
    for step, batch in enumerate(batches(digits, 6), start=1):
        learner.update(batch)
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * next(learner.networks["classifier"].parameters()).detach()
        assert torch.allclose(next(learner.networks["average"].parameters()), average, atol=1e-6)


def test_classifier_learns_and_tests_its_average(digits) -> None:
    learner = classifier()
    for batch in batches(digits, 48):
        learner.update(batch)
    images, labels = digits
    tests = learner.evaluate(in_order(images, labels, 512, lambda x: x, CPU))
    assert tests["accuracy"] > 0.9
    again = learner.evaluate(in_order(images, labels, 100, lambda x: x, CPU))
    assert again == pytest.approx(tests, rel=1e-5)
    with torch.no_grad():
        learner.networks["average"][-1].bias[3] = 1e6  # type: ignore[index]
    assert learner.evaluate(in_order(images, labels, 512, lambda x: x, CPU))["accuracy"] == float((labels == 3).float().mean())


@pytest.mark.parametrize("name", LOSSES.names())
def test_autoencoder_learns_with_every_loss(digits, name: str) -> None:
    torch.manual_seed(0)
    network, loss = MODELS.build("autoencoder", {"width": 8})(1), LOSSES.build(name)()
    critic = MODELS.build("critic", {"width": 8})(1) if loss.critic else None
    learner = AutoencoderLearner(network, loss, critic, learning_rate=0.1, momentum=0.9, precision="fp32", device=CPU)
    images, labels = digits

    def error() -> float:
        return learner.evaluate(in_order(images, labels, 256, lambda x: x, CPU))["squared_error"]

    start, seen = error(), []
    for batch in batches(digits, 40):
        seen.append(learner.update(batch))
    assert error() < start / 2
    assert network.training  # an evaluation in between leaves no trace
    if critic:
        assert all(m["critic_loss"].isfinite() for m in seen)
        assert all(p.requires_grad is False for p in critic.parameters()) and learner.optimizers["critic"].state


def test_state_is_whole(digits) -> None:
    """A learner with another's state goes on exactly like it."""
    first = classifier()
    for batch in batches(digits, 3):
        first.update(batch)
    second = classifier(learning_rate=0.05)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for batch in batches(digits, 3):
        assert torch.equal(first.update(batch)["loss"], second.update(batch)["loss"])
    for mine, other in zip(first.networks["average"].parameters(), second.networks["average"].parameters(), strict=True):
        assert torch.equal(mine, other)


def test_precision() -> None:
    assert compute_dtype("fp32", CPU) == torch.float32 and compute_dtype("bf16", CPU) == torch.bfloat16
    assert compute_dtype("auto", CPU) in (torch.float32, torch.bfloat16)
