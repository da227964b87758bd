"""A network's loss as a function of its weights, for differentiating through training."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from dsopt.distillation.unroll import Outer, State

# Real images that a CPU differentiates at a time. This bounds the memory; and as activations stay in the caches, LeNet takes 0.8 of
# the time of 1,024 images at once. A GPU gets all images at once, as parts would need more kernel launches.
PART = 256


def flat(weights: Iterable[Tensor]) -> Float[Tensor, " p"]:
    """Weights as one vector, in their order, so that updating and differentiating them takes one call instead of one for each."""
    return torch.cat([weight.detach().flatten() for weight in weights])


def loss(
    network: nn.Sequential, weights: Float[Tensor, " p"], images: Float[Tensor, "b c h w"], targets: Tensor
) -> Float[Tensor, ""]:
    """Mean cross-entropy with the given weights instead of the network's own; targets are class indices [b] or vectors [b, k]."""
    own = dict(network.named_parameters())
    parts = weights.split([value.numel() for value in own.values()])
    named = {name: part.view_as(value) for (name, value), part in zip(own.items(), parts, strict=True)}
    return F.cross_entropy(functional_call(network, named, (images,)), targets)


def loss_in_parts(network: nn.Sequential, images: Float[Tensor, "b c h w"], targets: Tensor) -> Outer:
    """The same of a state whose first tensor are the weights, as a sum over parts of the images."""
    size = PART if images.device.type == "cpu" else len(images)

    def term(state: State, x: Tensor, y: Tensor) -> Tensor:
        return loss(network, state[0], x, y) * (len(x) / len(images))

    return Outer(term, list(zip(images.split(size), targets.split(size), strict=True)))
