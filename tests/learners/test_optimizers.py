"""The optimizers of classifiers: what decays, orthogonal steps, AdamW as torch has it, resuming, and that they learn."""

import copy
from typing import Any

import pytest
import torch
from digits import CPU, feed
from torch import nn

from dsopt.learners.classifier import Classifier
from dsopt.learners.optimizers import Muon, optimizer_of, orthogonal
from dsopt.models.classifier24 import classifier24


def learner(**options: Any) -> Classifier:
    torch.manual_seed(0)
    settings = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "precision": "fp32", "device": CPU}
    return Classifier(classifier24(1, 10, width=8), **(settings | options))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 6), nn.Linear(6, 3)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw", "muon"])
@pytest.mark.parametrize("decay", ["dense", "weights"])
def test_every_weight_is_in_one_group_and_norms_and_biases_never_decay(name, decay) -> None:
    made = network()
    groups = optimizer_of(made, name, 0.1, 0.9, 0.5, decay).param_groups
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(map(id, made.parameters()))
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    expected = [made[3].weight, made[4].weight] + ([made[0].weight] if decay == "weights" else [])
    assert decayed == set(map(id, expected))


def test_singular_values_become_about_one() -> None:
    torch.manual_seed(0)
    for shape in ((8, 40), (40, 8), (16, 16)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.3 and values.max() < 1.3, shape


def test_a_matrix_steps_along_its_orthogonal_momentum_and_the_rest_as_by_adamw() -> None:
    made = network()
    twin, rate, decay = copy.deepcopy(made), 0.01, 0.5
    found = optimizer_of(made, "muon", rate, 0.9, decay, "weights")
    assert isinstance(found, Muon)
    others = [p for p in twin.parameters() if p.ndim < 2]
    groups = [{"params": [twin[4].weight], "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, rate, betas=(0.9, 0.999))
    momentum, expected = torch.zeros(4, 9), twin[0].weight.detach().clone()
    for step in range(3):
        torch.manual_seed(step)
        for p, q in zip(made.parameters(), twin.parameters(), strict=True):
            gradient = torch.randn(p.shape)
            p.grad, q.grad = gradient.clone(), gradient
        flat = made[0].weight.grad.reshape(4, 9)  # contiguous gradients of channels-last weights
        momentum = 0.9 * momentum + 0.1 * flat
        update = orthogonal(0.1 * flat + 0.9 * momentum) * 0.2 * 9**0.5
        expected = expected * (1 - rate * decay) - rate * update.view(4, 1, 3, 3)
        found.step()
        reference.step()
    torch.testing.assert_close(made[0].weight.detach(), expected)
    for name in ("4.weight", "4.bias", "1.weight", "0.bias"):
        torch.testing.assert_close(dict(made.named_parameters())[name], dict(twin.named_parameters())[name], msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.003), ("muon", 0.003)])
def test_they_learn_and_resume_to_the_same_weights(name: str, rate: float) -> None:
    one = learner(optimizer=name, learning_rate=rate, decay="weights")
    losses = [float(one.update(feed(augment=["crop"])(step))["loss"]) for step in range(80)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    other = learner(optimizer=name, learning_rate=rate, decay="weights")
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for made in (one, other):
        made.update(feed()(80))
    for p, q in zip(one.networks["classifier"].parameters(), other.networks["classifier"].parameters(), strict=True):
        assert torch.equal(p, q)


def test_smoothed_labels() -> None:
    one, other = learner(label_smoothing=0.2), learner()
    batch = feed()(0)
    smooth = torch.nn.functional.one_hot(batch.labels, 10).float() * 0.8 + 0.02
    torch.testing.assert_close(one.update(batch)["loss"], other.update(batch._replace(labels=smooth))["loss"])
