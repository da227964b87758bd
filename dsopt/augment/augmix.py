"""AugMix: a blend of an image with chains of operations applied to it."""

from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import UniformDraw, on_host
from dsopt.augment.operations import Reach, change, operations, sorted_by_operation
from dsopt.registry import AUGMENTATIONS

LEVELS, DEPTH = 10, 3  # levels of strength; the largest number of operations in a chain
OPERATIONS = operations(Reach(shear=0.3, shift=1 / 3, degrees=30.0, enhance=0.9, bits=(4, 0)), "bilinear")


@AUGMENTATIONS.register(bytes=False, unit=True)
def augmix(images: Float[Tensor, "b c h w"], draw: UniformDraw, *, severity: int = 3, width: int = 3) -> Float[Tensor, "b c h w"]:
    """Blend an image with `width` chains of one to three operations each (Hendrycks et al. 2020, arXiv:1912.02781, algorithm 1).

    Each operation has one of the first `severity` of ten levels. The operations and their ranges are torchvision's defaults. These
    include operations on colors, which the authors left out because their benchmark has similar corruptions. All mixing weights are
    from their distributions with alpha = 1. The paper's consistency loss between two blends is not used.
    """
    # The original's weight is from Beta(1, 1), which is uniform; normalized exponential numbers are from Dirichlet(1).
    own, weights = draw(), torch.stack([-torch.log1p(-draw()) for _ in range(width)])
    weights = (1 - own) * weights / weights.sum(0).clamp_min(1e-12)
    numbers, strengths = [], []  # all of them first, as the places of all changes are then moved to the device at once
    for _ in range(width):
        depth = 1 + (on_host(draw) * DEPTH).long()
        for step in range(DEPTH):
            numbers.append(torch.where(step < depth, (on_host(draw) * len(OPERATIONS)).long(), len(OPERATIONS)))
            level = (draw() * severity).floor() / (LEVELS - 1)
            strengths.append(level * torch.where(draw() < 0.5, -1.0, 1.0))
    changes = zip(sorted_by_operation(torch.stack(numbers), len(OPERATIONS), images.device), strengths, strict=True)

    chain = torch.empty_like(images, memory_format=torch.channels_last)
    blend = (images * own[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    for weight in weights:
        chain.copy_(images)
        for chosen, strength in islice(changes, DEPTH):
            change(chain, OPERATIONS, chosen, strength)
        blend.addcmul_(chain, weight[:, None, None, None])
    return blend
