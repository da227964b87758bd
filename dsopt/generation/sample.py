"""Images from a trained generator."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dsopt.errors import JobError

Noise = Callable[[int, torch.Generator], Float[Tensor, "b latent"]]  # (how many, generator) -> noise
Make = Callable[[Tensor, Tensor | None], Tensor]  # (noise [b, latent], labels [b] or None) -> images [b, c, h, w]

BATCH = 250  # images made at once; part of what a seed means


def noise(kind: Literal["normal", "uniform"], latent: int) -> Noise:
    """What images are made from: `latent` numbers each, from N(0, 1) or uniform in -1..1."""
    if kind == "normal":
        return lambda count, generator: torch.randn(count, latent, generator=generator)
    return lambda count, generator: 2 * torch.rand(count, latent, generator=generator) - 1


def labels_in_turn(start: int, stop: int, classes: int) -> Int64[Tensor, " n"]:
    """The labels of images `start` to `stop` of any number: each class in turn, so that every stretch is balanced."""
    return torch.arange(start, stop) % classes


@torch.inference_mode()
def sample(
    make: Make, draw: Noise, labels: Int64[Tensor, " n"], seed: int, *, low: float, device: torch.device
) -> UInt8[Tensor, "n c h w"]:
    """One image for every label, the same for the same seed.

    Args:
        labels: -1 from a generator that takes none.
        low: the value of black in the images that it makes; white is 1.

    Raises:
        JobError: the generator makes something else than numbers.
    """
    random = torch.Generator().manual_seed(seed)
    made = []
    for some in labels.split(BATCH):
        condition = None if int(some[0]) < 0 else some.to(device)
        images = make(draw(len(some), random).to(device), condition).float()
        if not images.isfinite().all():
            raise JobError("the generator makes no images but infinite or undefined numbers: its training diverged.")
        made.append(((images - low) / (1 - low) * 255).round().clamp(0, 255).to(torch.uint8).cpu())
    return torch.cat(made)
