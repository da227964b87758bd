"""Images from a trained generator."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dsopt.errors import JobError

Noise = Callable[[int, torch.Generator], Float[Tensor, "b latent"]]  # (count, generator) -> noise
Generate = Callable[[Tensor, Tensor | None], Tensor]  # (noise [b, latent], labels [b] or None) -> images [b, c, h, w]

BATCH = 250  # images generated at a time; with another number, the same seed would give other images


def noise(kind: Literal["normal", "uniform"], latent: int) -> Noise:
    """Samples latent vectors of dimension `latent`, from N(0, 1) or uniform in -1..1."""
    if kind == "normal":
        return lambda count, generator: torch.randn(count, latent, generator=generator)
    return lambda count, generator: 2 * torch.rand(count, latent, generator=generator) - 1


def cyclic_labels(start: int, stop: int, classes: int) -> Int64[Tensor, " n"]:
    """The labels of images `start` to `stop` (exclusive): 0, 1, ..., classes - 1, 0, ..., so that every range is balanced."""
    return torch.arange(start, stop) % classes


@torch.inference_mode()
def sample(
    generate: Generate, draw: Noise, labels: Int64[Tensor, " n"], seed: int, *, low: float, device: torch.device
) -> UInt8[Tensor, "n c h w"]:
    """Generate one image for every label, the same for the same seed.

    Args:
        labels: all -1 for an unconditional generator.
        low: the generator's value of black; white is 1.

    Raises:
        JobError: the generator's output is not finite.
    """
    random = torch.Generator().manual_seed(seed)
    generated = []
    for some in labels.split(BATCH):
        condition = None if int(some[0]) < 0 else some.to(device)
        images = generate(draw(len(some), random).to(device), condition).float()
        if not images.isfinite().all():
            raise JobError("the generator's images have infinite or undefined values: its training diverged.")
        generated.append(((images - low) / (1 - low) * 255).round().clamp(0, 255).to(torch.uint8).cpu())
    return torch.cat(generated)
