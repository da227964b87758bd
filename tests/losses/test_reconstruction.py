"""Reconstruction losses against their equations."""

import pytest
import torch
from torch import Tensor, nn

from dsopt.losses.reconstruction import squared_error, wasserstein
from dsopt.registry import LOSSES


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """Reconstructions, all darker than the images they should be."""
    generator = torch.Generator().manual_seed(0)
    target = 0.5 + torch.rand(6, 2, 5, 5, generator=generator)
    return torch.rand(6, 2, 5, 5, generator=generator) * 0.4, target


def linear(norm: float, direction: Tensor | None = None) -> nn.Module:
    """A critic whose gradient has this norm, along `direction`."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(50, 1))
    towards = torch.randn(50, generator=torch.Generator().manual_seed(1)) if direction is None else direction
    with torch.no_grad():
        critic[1].weight.copy_(norm * towards / towards.norm())  # type: ignore[union-attr]
    return critic


def critic_loss(critic: nn.Module, pair: tuple[Tensor, Tensor], **options: float) -> Tensor:
    side = wasserstein(**options).critic
    assert side is not None
    return side(*pair, critic, torch.rand(6, generator=torch.Generator().manual_seed(2)))


def test_squared_error_is_equation_2(pair):
    output, target = pair
    n = output.numel()
    expected = sum((float(a) - float(b)) ** 2 for a, b in zip(output.flatten(), target.flatten(), strict=True)) / n
    assert float(squared_error().autoencoder(output, target, None)) == pytest.approx(expected)
    assert squared_error().critic is None
    assert float(squared_error().autoencoder(target, target, None)) == 0


@pytest.mark.parametrize("norm, penalty", [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_the_gradient_penalty_is_of_the_norm_of_the_gradient(pair, norm, penalty):
    critic = linear(norm)
    distance = float((critic(pair[0]).mean() - critic(pair[1]).mean()).detach())
    assert float(critic_loss(critic, pair, gradient_penalty=7.0).detach()) - distance == pytest.approx(7 * penalty, abs=1e-4)


def test_the_gradient_penalty_looks_between_the_pair(pair):
    seen = []

    class Spy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.detach())
            return images.flatten(1).sum(1, keepdim=True)

    critic_loss(Spy(), pair)
    u = torch.rand(6, generator=torch.Generator().manual_seed(2))[:, None, None, None]
    assert any(torch.allclose(images, pair[0] * (1 - u) + pair[1] * u) for images in seen)


def test_a_critic_that_separates_has_the_lower_loss(pair):
    right = torch.ones(50)  # towards brighter, as the real images are
    losses = [float(critic_loss(linear(1.0, towards), pair).detach()) for towards in (right, -right)]
    assert losses[0] < float(critic_loss(linear(0.0), pair).detach()) and losses[0] < 0 < losses[1]


def test_a_critic_learns_to_separate(pair):
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(50, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = critic_loss(critic, pair)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] and critic(pair[1]).mean().item() > critic(pair[0]).mean().item() + 1


def test_the_autoencoder_goes_where_the_critic_scores_higher(pair):
    output, target = pair[0].clone().requires_grad_(), pair[1]
    critic = linear(1.0, torch.ones(50)).requires_grad_(False)
    loss = wasserstein(weight=0.5).autoencoder(output, target, critic)
    expected = (output - target).square().mean() - 0.5 * critic(output).mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()))
    loss.backward()
    assert output.grad is not None and (output.grad < 0).all()
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_weight_zero_is_the_squared_error(pair):
    assert torch.equal(wasserstein(weight=0.0).autoencoder(*pair, linear(1.0)), squared_error().autoencoder(*pair, None))


def test_the_critics_step_does_not_reach_the_autoencoder(pair):
    output = pair[0].clone().requires_grad_()
    side = wasserstein().critic
    assert side is not None
    side(output.detach(), pair[1], linear(1.0), torch.rand(6)).backward()
    assert output.grad is None


@pytest.mark.parametrize("name", LOSSES.names())
def test_every_reconstruction_loss_is_repeatable_and_least_when_right(name, pair):
    loss = LOSSES.build(name)()
    critic = linear(1.0).requires_grad_(False)
    assert torch.equal(loss.autoencoder(*pair, critic), loss.autoencoder(*pair, critic))
    far = pair[1] - 10  # the critic's part is linear, and weighs little
    assert float(loss.autoencoder(pair[1], pair[1], critic)) < float(loss.autoencoder(far, pair[1], critic))
