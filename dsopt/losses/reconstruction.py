"""Reconstruction losses: how far an autoencoder's output is from its input."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from dsopt.losses.input_gradients import penalty
from dsopt.registry import LOSSES


class ReconstructionLoss(NamedTuple):
    """Both sides of a reconstruction loss; `critic` is None if the loss trains none."""

    autoencoder: Callable[[Tensor, Tensor, nn.Module | None], Tensor]  # (output, target, critic) -> scalar
    critic: Callable[[Tensor, Tensor, nn.Module, Tensor], Tensor] | None = None  # (output, target, critic, u [b]) -> scalar


@LOSSES.register
def squared_error() -> ReconstructionLoss:
    """The mean squared difference over all elements (selection paper, equation 2)."""
    return ReconstructionLoss(lambda output, target, critic: (output - target).square().mean())


@LOSSES.register
def wasserstein(*, weight: float = 0.01, gradient_penalty: float = 10.0) -> ReconstructionLoss:
    """Squared error plus `weight` times the Wasserstein distance between inputs and reconstructions, estimated by a critic.

    The selection paper (section 4.2) names the distance of Arjovsky et al. 2017 (arXiv:1701.07875) and Gulrajani et al. 2017
    (arXiv:1704.00028, eq. 3). The distance compares two distributions, not an image with its own reconstruction, so the squared
    error stays.
    """

    def autoencoder(output: Tensor, target: Tensor, critic: nn.Module | None) -> Tensor:
        assert critic is not None
        return (output - target).square().mean() - weight * critic(output).mean()

    def critic_side(output: Tensor, target: Tensor, critic: nn.Module, u: Tensor) -> Tensor:
        distance = critic(target).mean() - critic(output).mean()
        return -distance + gradient_penalty * penalty(critic, target, output, u)

    return ReconstructionLoss(autoencoder, critic_side)
