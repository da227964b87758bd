"""The classifier's learner: what decays, what is averaged, what is tested."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from digits import CPU, feed, held_out
from torch import nn

from dsopt.learners.classifier import Classifier
from dsopt.learners.placement import compute_dtype
from dsopt.models.classifier24 import classifier24


def learner(network: nn.Module | None = None, **options: Any) -> Classifier:
    torch.manual_seed(0)
    settings = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "precision": "fp32", "device": CPU}
    return Classifier(network or classifier24(1, 10, width=8), **(settings | options))


def test_only_dense_weights_decay():
    made = learner(weight_decay=0.25, learning_rate=0.5, momentum=0.0)
    network = made.networks["classifier"]
    dense = {id(m.weight) for m in network.modules() if isinstance(m, nn.Linear)}
    groups = made.optimizers["classifier"].param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    everything = [id(p) for group in groups for p in group["params"]]
    assert decayed == dense and len(dense) == 3
    assert sorted(everything) == sorted(id(p) for p in network.parameters())

    before = {key: value.clone() for key, value in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.optimizers["classifier"].step()
    for key, parameter in network.named_parameters():
        factor = 1 - 0.5 * 0.25 if id(parameter) in dense else 1.0
        torch.testing.assert_close(parameter.detach(), before[key] * factor, msg=key)


def test_an_update_is_sgd_on_the_cross_entropy():
    """Against the same steps by hand; also that layout and fused kernels change nothing."""
    made, source = learner(), feed()
    network = copy.deepcopy(made.networks["classifier"]).to(memory_format=torch.contiguous_format)
    velocity = {key: torch.zeros_like(p) for key, p in network.named_parameters()}
    dense = {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.Linear)}
    for step in range(4):
        batch = source(step)
        loss = F.cross_entropy(network(batch.images.contiguous()), batch.labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for (key, parameter), gradient in zip(network.named_parameters(), gradients, strict=True):
                velocity[key] = 0.9 * velocity[key] + gradient + (0.004 * parameter if key in dense else 0)
                parameter -= 0.05 * velocity[key]
        assert float(made.update(batch)["loss"]) == pytest.approx(float(loss.detach()), rel=1e-4)
    expected = dict(network.named_parameters())
    for key, parameter in made.networks["classifier"].named_parameters():
        torch.testing.assert_close(parameter, expected[key], rtol=1e-3, atol=1e-5, msg=key)


def test_weights_count_in_the_loss_and_weights_of_1_change_nothing():
    batch = feed(batch=6)(0)
    weights = torch.tensor([0.0, 1.0, 2.0, 0.5, 1.5, 1.0])
    one, other = learner(), learner()
    losses = one.losses(batch)
    assert losses.shape == (6,) and not losses.requires_grad
    assert float(one.update(batch._replace(weights=weights))["loss"]) == pytest.approx(float((losses * weights).mean()), rel=1e-5)
    plain = other.update(batch._replace(weights=torch.ones(6)))["loss"]
    assert float(plain) == pytest.approx(float(losses.mean()), rel=1e-5)
    assert float(learner().update(batch)["loss"]) == pytest.approx(float(plain), rel=1e-6)


def test_probabilities_of_one_class_are_that_class():
    batch = feed(batch=6)(0)
    soft = batch._replace(labels=F.one_hot(batch.labels, 10).float())
    assert float(learner().update(soft)["loss"]) == pytest.approx(float(learner().update(batch)["loss"]), rel=1e-5)


def test_a_batch_that_observes_is_given_the_logits_before_the_step():
    made, batch, seen = learner(), feed(batch=6)(0), []
    loss = made.update(batch._replace(observe=seen.append))["loss"]
    assert float(F.cross_entropy(seen[0], batch.labels)) == pytest.approx(float(loss), rel=1e-5) and not seen[0].requires_grad


def test_the_averaged_weights_follow_the_formula():
    made, source = learner(nn.Sequential(nn.Flatten(), nn.Linear(576, 10)), average=0.5), feed(batch=8)
    expected = [p.detach().clone() for p in made.networks["classifier"].parameters()]
    for t in range(1, 13):  # from t = 8 on, it is `average` that is smaller
        made.update(source(t))
        decay = min(0.5, (1 + t) / (10 + t))
        weights = [p.detach() for p in made.networks["classifier"].parameters()]
        expected = [decay * mean + (1 - decay) * weight for mean, weight in zip(expected, weights, strict=True)]
        for found, mean in zip(made.networks["average"].parameters(), expected, strict=True):
            torch.testing.assert_close(found, mean)
    assert not torch.allclose(expected[0], weights[0])


def test_evaluation_is_of_the_averaged_weights():
    made, source = learner(), feed()
    for step in range(5):
        made.update(source(step))
    before = made.evaluate(held_out())
    with torch.no_grad():
        for parameter in made.networks["classifier"].parameters():
            parameter.zero_()
    assert made.evaluate(held_out()) == before
    with torch.no_grad():
        for parameter in made.networks["average"].parameters():
            parameter.zero_()
    assert made.evaluate(held_out())["loss"] == pytest.approx(math.log(10))  # all logits alike


def test_evaluation_is_right_whatever_the_batch_size():
    made, source = learner(), feed(batch=64)
    for step in range(10):
        made.update(source(step))
    found = [made.evaluate(held_out(size)) for size in (297, 100, 7)]
    for one in found[1:]:
        assert one["accuracy"] == pytest.approx(found[0]["accuracy"], abs=1e-9) and one["loss"] == pytest.approx(
            found[0]["loss"], rel=1e-5
        )
    (whole,) = held_out(297)
    network = made.networks["average"]
    with torch.no_grad():
        logits = network(whole.images)
    assert not network.training
    for mine, trained in zip(network.buffers(), made.networks["classifier"].buffers(), strict=True):
        assert torch.equal(mine, trained)  # batch statistics
    assert found[0]["accuracy"] == pytest.approx(float((logits.argmax(1) == whole.labels).float().mean()))
    assert found[0]["loss"] == pytest.approx(float(F.cross_entropy(logits, whole.labels)), rel=1e-5)


def test_evaluation_disturbs_nothing():
    one, other, source = learner(), learner(), feed()
    for step in range(4):
        assert torch.equal(one.update(source(step))["loss"], other.update(source(step))["loss"])
        one.evaluate(held_out())
    for key, value in one.networks["classifier"].state_dict().items():
        assert torch.equal(value, other.networks["classifier"].state_dict()[key]), key
    assert one.networks["classifier"].training


@pytest.mark.slow
def test_it_learns_digits():
    made, source = learner(average=0.9), feed(1500, 64, augment=["crop"])
    losses = [float(made.update(source(step))["loss"]) for step in range(60)]
    assert losses[0] > 2 and sum(losses[-5:]) / 5 < 0.8
    assert made.evaluate(held_out())["accuracy"] > 0.8


@pytest.mark.slow
def test_bf16_trains_fp32_weights_to_about_the_same_loss():
    one, other, source = learner(), learner(precision="bf16"), feed(batch=32)
    for step in range(10):
        exact, near = one.update(source(step))["loss"], other.update(source(step))["loss"]
        assert near.dtype == torch.float32 and float(near) == pytest.approx(float(exact), rel=0.1, abs=0.05)
    assert all(p.dtype == torch.float32 for p in other.networks["classifier"].parameters())
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in other.networks["classifier"].parameters() if p.ndim == 4)


def test_precision_is_as_asked_for_and_one_of_two_otherwise():
    assert compute_dtype("fp32", CPU) == torch.float32 and compute_dtype("bf16", CPU) == torch.bfloat16
    assert compute_dtype("auto", CPU) in (torch.float32, torch.bfloat16)


def test_the_state_brings_everything_back():
    made, source = learner(), feed()
    for step in range(3):
        made.update(source(step))
    state = copy.deepcopy(made.state_dict())
    expected = [float(made.update(source(step))["loss"]) for step in range(3, 8)]
    accuracy = made.evaluate(held_out())
    other = learner(classifier24(1, 10, width=8))
    other.load_state_dict(state)
    assert [float(other.update(source(step))["loss"]) for step in range(3, 8)] == expected
    assert other.evaluate(held_out()) == accuracy and other.average.step == made.average.step == 8


def test_the_best_weights_are_kept_and_restored():
    """Beside the training, which they do not change; they are part of the state."""
    made, plain, source = learner(), learner(), feed()
    best = made.keep_best()
    scores, accuracies = [0.2, 0.5, 0.3, 0.5], []
    for step, score in enumerate(scores):
        made.update(source(step))
        plain.update(source(step))
        best.offer(score)
        accuracies.append(made.evaluate(held_out()))
    last = {key: value.clone() for key, value in made.networks["classifier"].state_dict().items()}
    assert all(torch.equal(value, last[key]) for key, value in plain.networks["classifier"].state_dict().items())
    resumed = learner()
    again = resumed.keep_best()
    resumed.load_state_dict(made.state_dict())
    for one, which in ((made, best), (resumed, again)):
        assert which.score == 0.5
        which.restore()
        assert one.evaluate(held_out()) == accuracies[1]  # of equal ones the first
