"""Gradients of a network's output with respect to its input images, and the penalty made of them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def score_gradients(score: Callable[[Tensor], Tensor], images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
    """The gradient of every image's score, the mean over its patches, with respect to its pixels; itself differentiable.

    Args:
        score: images -> scores [b], [b, 1] or [b, patches].
        images: require a gradient.
    """
    per_image = score(images).reshape(len(images), -1).mean(1)
    (gradient,) = torch.autograd.grad(per_image.sum(), images, create_graph=True)
    return gradient.flatten(1)


def penalty(
    score: Callable[[Tensor], Tensor],
    real: Float[Tensor, "b c h w"],
    fake: Float[Tensor, "b c h w"],
    u: Float[Tensor, " b"],
    target: float = 1.0,
) -> Float[Tensor, ""]:
    """The mean squared difference between the norm of the score's gradient and `target`, at the point u of the way from each
    generated to its real image (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3)."""
    between = torch.lerp(fake.detach(), real.detach(), u[:, None, None, None]).requires_grad_()
    return (score_gradients(score, between).norm(dim=1) - target).square().mean()


def loss_gradients(classify: Callable[[Tensor], Tensor], images: Float[Tensor, "b c h w"], labels: Tensor) -> Float[Tensor, "b d"]:
    """The gradient of every image's cross-entropy with respect to its pixels; itself differentiable if the images require it."""
    differentiable = images.requires_grad
    images = images if differentiable else images.detach().requires_grad_()
    loss = F.cross_entropy(classify(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images, create_graph=differentiable)
    return gradient.flatten(1)
