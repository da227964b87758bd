"""The first images of a synthetic set, and a step on it that all workers make together."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dsopt.distillation.contract import Problem, Synthetic
from dsopt.errors import InputError
from dsopt.learners.optim import set_gradients, step
from dsopt.learners.placement import average_gradients
from dsopt.registry import SELECTORS
from dsopt.seeds import derive
from dsopt.selection.balance import per_class

Init = Literal["noise", "random", "kmeans"]  # the last two: real images, chosen so


def labels(problem: Problem) -> Tensor:
    """The classes of a synthetic set, one block after another: [per_class * classes]."""
    return torch.arange(problem.classes, device=problem.device).repeat(problem.per_class)


def noise_images(problem: Problem) -> Tensor:
    """Standard normal noise, as large as what a network takes."""
    generator = torch.Generator().manual_seed(derive(problem.seed, "synthetic"))
    shape = problem.inputs(problem.images[:1]).shape[1:]
    return torch.randn(problem.per_class * problem.classes, *shape, generator=generator).to(problem.device)


def chosen(problem: Problem, method: str, times: int = 1) -> Synthetic:
    """Real images that a selection method takes of each class, looking at their pixels; `times` as many as synthetic ones.

    Raises InputError if there are too few.
    """
    counts, wanted = problem.labels.bincount(minlength=problem.classes), times * problem.per_class
    if int(counts.min()) < wanted:
        label, count = int(counts.argmin()), int(counts.min())
        told = f" with {times} images in each" if times > 1 else ""
        raise InputError(f"distill.per_class={problem.per_class}{told}: class {label} has only {count} images.")
    generator = torch.Generator().manual_seed(derive(problem.seed, "synthetic"))
    pixels = problem.images.flatten(1).cpu()
    pixels = pixels.float() if SELECTORS.traits(method).embeddings else pixels[:, :0].float()
    selector = SELECTORS.build(method)
    indices = per_class(selector, pixels, problem.labels.cpu(), wanted * problem.classes, generator).indices
    images = problem.inputs(problem.images[indices.to(problem.device)])
    return Synthetic(images.contiguous(), problem.labels[indices.to(problem.device)])


class Clipping:
    """Holds every gradient to `most` times the moving average of its own norm so far, as held; 0: leaves all as they are.

    Back through a training, one batch in thousands gives a gradient a hundred times as long as others. Adam, whose first average
    forgets it in a few steps and whose second takes hundreds to notice it, then moves by up to 16 times its rate.
    """

    def __init__(self, most: float, device: torch.device) -> None:
        self.most, self.norms = most, torch.zeros((), device=device)  # 0: no average yet

    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        if not self.most:
            return list(gradients)
        norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
        held = torch.where(self.norms > 0, torch.minimum(norms, self.most * self.norms), norms)
        self.norms = torch.where(self.norms > 0, self.norms.lerp(held, 0.1), held)
        factors = held / norms.clamp_min(1e-30)
        return [gradient * factor for gradient, factor in zip(gradients, factors, strict=True)]


def descend(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor], world: int) -> list[Tensor]:
    """One step on all parameters of an optimizer, in their order, with the workers' mean gradients; these."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    means = average_gradients(gradients, world)
    set_gradients(parameters, means)
    step(optimizer)
    return means
