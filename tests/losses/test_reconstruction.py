"""Reconstruction losses against what the papers' equations say."""

import pytest
import torch
from torch import nn

from dsopt.losses.reconstruction import squared_error, wasserstein
from dsopt.registry import LOSSES


class Slope(nn.Module):
    """A critic that is linear with a given slope everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        direction = torch.randn(12, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(slope * direction / direction.norm())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight[:, None]


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 3, 2, 2, generator=generator), torch.rand(5, 3, 2, 2, generator=generator)


def test_squared_error_is_equation_2() -> None:
    output, target = pair()
    expected = sum((y - x) ** 2 for y, x in zip(output.flatten().tolist(), target.flatten().tolist(), strict=True)) / 60
    assert float(squared_error().autoencoder(output, target, None)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (3.0, 4.0), (0.5, 0.25)])
def test_gradient_penalty_is_the_squared_distance_of_the_slope_from_1(slope: float, penalty: float) -> None:
    output, target = pair()
    critic, u = Slope(slope), torch.rand(5)
    with_penalty = wasserstein(gradient_penalty=1.0).critic(output, target, critic, u)  # type: ignore[misc]
    without = wasserstein(gradient_penalty=0.0).critic(output, target, critic, u)  # type: ignore[misc]
    assert float((with_penalty - without).detach()) == pytest.approx(penalty, abs=1e-5)
    assert torch.allclose(without, critic(output).mean() - critic(target).mean(), atol=1e-6)


def test_the_autoencoder_is_drawn_to_what_the_critic_likes() -> None:
    output, _ = pair()
    critic = Slope(1.0)
    output.requires_grad_()
    wasserstein(weight=1.0).autoencoder(output, output.detach(), critic).backward()
    assert torch.allclose(output.grad.flatten(1), -critic.weight.detach().expand(5, 12) / 5)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", LOSSES.names())
def test_contract(name: str) -> None:
    """A better reproduction costs less, and a loss with a critic says how the critic learns."""
    loss, (output, target) = LOSSES.build(name)(), pair()
    critic = Slope(1.0) if loss.critic else None
    near = target + 0.01 * (output - target)
    assert loss.autoencoder(near, target, critic) < loss.autoencoder(output, target, critic)
