"""AugMix: a blend of an image with chains of operations on it."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import Draw
from dsopt.augment.operations import Reach, change, operations
from dsopt.registry import AUGMENTATIONS

LEVELS, DEPTH = 10, 3
OPERATIONS = operations(Reach(shear=0.3, shift=1 / 3, degrees=30.0, enhance=0.9, bits=(4, 0)), "bilinear")


@AUGMENTATIONS.register(bytes=False, unit=True)
def augmix(images: Float[Tensor, "b c h w"], draw: Draw, *, severity: int = 3, width: int = 3) -> Float[Tensor, "b c h w"]:
    """Blend an image with `width` chains of one to three operations each (Hendrycks et al. 2020, arXiv:1912.02781, algorithm 1).

    Operations are at one of the first `severity` of ten levels; their set and how far they go are torchvision's, whose default also
    has those on colours, which the authors left out because their benchmark has such corruptions. All weights are of their
    distributions with alpha = 1. Without the loss between two blends.
    """
    own, weights = draw(), torch.stack([-torch.log1p(-draw()) for _ in range(width)])  # normalised, exponentials are Dirichlet(1)
    weights = (1 - own) * weights / weights.sum(0).clamp_min(1e-12)
    chain = torch.empty_like(images, memory_format=torch.channels_last)
    blend = (images * own[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    for weight in weights:
        chain, depth = chain.copy_(images), 1 + (draw() * DEPTH).long()
        for step in range(DEPTH):
            chosen = torch.where(step < depth, (draw() * len(OPERATIONS)).long(), len(OPERATIONS))
            level = (draw() * severity).floor() / (LEVELS - 1)
            change(chain, OPERATIONS, chosen, level * torch.where(draw() < 0.5, -1.0, 1.0))
        blend.addcmul_(chain, weight[:, None, None, None])
    return blend
