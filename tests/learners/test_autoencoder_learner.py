"""The autoencoder's learner, with and without a critic."""

import copy

import pytest
import torch
from digits import CPU, feed, held_out
from torch import Tensor, nn

from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.losses.reconstruction import ReconstructionLoss, squared_error, wasserstein
from dsopt.models.autoencoder import autoencoder
from dsopt.models.critic import critic


def learner(loss: ReconstructionLoss, learning_rate: float = 0.1) -> AutoencoderLearner:
    torch.manual_seed(0)
    network, scorer = autoencoder(1, width=8), critic(1, width=8)
    return AutoencoderLearner(
        network, loss, scorer if loss.critic else None, learning_rate=learning_rate, momentum=0.9, precision="fp32", device=CPU
    )


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("loss", [squared_error(), wasserstein()], ids=["squared_error", "wasserstein"])
def test_it_learns_to_reconstruct_digits(loss):
    made, source = learner(loss, 0.3), feed(1500, 64, augment=["crop"], standardised=False)
    before = made.evaluate(held_out(standardised=False))["squared_error"]
    metrics = [made.update(source(step)) for step in range(50)]
    after = made.evaluate(held_out(standardised=False))["squared_error"]
    assert after < 0.6 * before
    assert set(metrics[0]) == ({"loss", "critic_loss"} if loss.critic else {"loss"})
    assert all(not value.requires_grad for value in metrics[0].values())


def test_evaluation_is_right_whatever_the_batch_size():
    made = learner(squared_error())
    made.update(feed(standardised=False)(0))
    found = [made.evaluate(held_out(size, standardised=False))["squared_error"] for size in (297, 50, 7)]
    assert found[1:] == pytest.approx(found[:1] * 2, rel=1e-5)
    (whole,) = held_out(297, standardised=False)
    with torch.no_grad():
        output = made.networks["autoencoder"].eval()(whole.images)
    assert found[0] == pytest.approx(float((output - whole.images).square().mean()), rel=1e-5)


def test_evaluation_disturbs_nothing():
    one, other, source = learner(squared_error()), learner(squared_error()), feed(standardised=False)
    for step in range(3):
        assert torch.equal(one.update(source(step))["loss"], other.update(source(step))["loss"])
        one.evaluate(held_out(standardised=False))
    assert one.networks["autoencoder"].training


def test_each_step_moves_its_own_network_only():
    """The critic's step does not see how much it weighs for the autoencoder, nor is it moved by the autoencoder's."""
    light, heavy = learner(wasserstein(weight=0.0)), learner(wasserstein(weight=1.0))
    batch = feed(standardised=False)(0)
    started = weights(light.networks["critic"])
    light.update(batch)
    heavy.update(batch)
    assert alike(weights(light.networks["critic"]), weights(heavy.networks["critic"]))
    assert not alike(weights(light.networks["critic"]), started)
    gradients = [[p.grad for p in made.networks["critic"].parameters() if p.grad is not None] for made in (light, heavy)]
    assert gradients[0] and alike(*gradients)  # nothing of the autoencoder's step was added
    assert not alike(weights(light.networks["autoencoder"]), weights(heavy.networks["autoencoder"]))


def test_without_weight_the_critic_changes_nothing_for_the_autoencoder():
    with_critic, without = learner(wasserstein(weight=0.0)), learner(squared_error())
    source = feed(standardised=False)
    for step in range(3):
        with_critic.update(source(step))
        without.update(source(step))
    assert alike(weights(with_critic.networks["autoencoder"]), weights(without.networks["autoencoder"]))


@pytest.mark.slow
def test_the_critic_learns_beside_a_bad_autoencoder():
    made, source = learner(wasserstein(), learning_rate=0.0), feed(1500, 32, standardised=False)
    losses = [float(made.update(source(step))["critic_loss"]) for step in range(40)]
    assert sum(losses[-5:]) < sum(losses[:5]) - 5


@pytest.mark.parametrize("loss", [squared_error(), wasserstein()], ids=["squared_error", "wasserstein"])
def test_the_state_brings_everything_back(loss):
    made, source = learner(loss), feed(standardised=False)
    for step in range(3):
        made.update(source(step))
    state = copy.deepcopy(made.state_dict())
    expected = [{key: float(value) for key, value in made.update(source(step)).items()} for step in range(3, 7)]
    other = learner(loss)
    other.load_state_dict(state)
    assert [{key: float(value) for key, value in other.update(source(step)).items()} for step in range(3, 7)] == expected
