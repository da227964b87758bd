"""The kernel distance of two sets of features, an unbiased estimate for sets of any size."""

import torch
from jaxtyping import Float
from torch import Tensor


def kernel_distance(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], generator: torch.Generator, *, subsets: int = 100, size: int = 1000
) -> tuple[float, float]:
    """The squared maximum mean discrepancy with the kernel (x.y / d + 1)^3: mean and standard deviation over subsets, in float64.

    With Inception features this is the KID (Bińkowski et al. 2018, arXiv:1801.01401), with the subsets, the estimator and the
    population standard deviation of torch-fidelity. For two sets of one distribution it is about 0, and may be negative.

    Args:
        subsets: the number of pairs of random subsets.
        size: images per subset, drawn without replacement; at most as many as the smaller set has.
    """
    size = min(size, len(a), len(b))
    found = torch.stack([_mmd(_draw(a, size, generator), _draw(b, size, generator)) for _ in range(subsets)])
    return float(found.mean()), float(found.std(correction=0))


def _draw(features: Float[Tensor, "n d"], size: int, generator: torch.Generator) -> Float[Tensor, "s d"]:
    return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)].double()


def _mmd(a: Float[Tensor, "s d"], b: Float[Tensor, "s d"]) -> Float[Tensor, ""]:
    """The unbiased estimator: an image is never compared with itself."""
    n, (aa, bb, ab) = len(a), (_kernel(a, a), _kernel(b, b), _kernel(a, b))
    return (aa.sum() - aa.trace() + bb.sum() - bb.trace()) / (n * (n - 1)) - 2 * ab.mean()


def _kernel(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return (a @ b.T / a.shape[1] + 1) ** 3
