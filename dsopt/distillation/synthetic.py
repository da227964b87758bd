"""The initial images of a synthetic set, and an optimizer step on it that all workers take together."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from dsopt.distillation.contract import Problem, Synthetic
from dsopt.errors import InputError
from dsopt.learners.optim import set_gradients, step
from dsopt.learners.placement import average_gradients
from dsopt.registry import SELECTORS
from dsopt.seeds import derive
from dsopt.selection.balance import per_class

Init = Literal["noise", "random", "kmeans"]  # the last two: real images, selected by that method


def labels(problem: Problem) -> Tensor:
    """The labels of a synthetic set, in blocks of one of every class: [per_class * classes]."""
    return torch.arange(problem.classes, device=problem.device).repeat(problem.per_class)


def rows_of_classes(labels: Int64[Tensor, " b"], classes: int) -> list[Int64[Tensor, " _"]]:
    """The rows of each class, in a batch with equally many images of every class or in a worker's part of it.

    A part that is balanced too, as the whole is, needs no look at the labels, which would wait for the device.
    """
    order, even = labels.argsort(stable=True), len(labels) % classes == 0
    return list(order.split(len(labels) // classes if even else labels.bincount(minlength=classes).tolist()))


def noise_images(problem: Problem) -> Tensor:
    """Standard normal noise of the shape of the network's inputs."""
    generator = torch.Generator().manual_seed(derive(problem.seed, "synthetic"))
    shape = problem.inputs(problem.images[:1]).shape[1:]
    return torch.randn(problem.per_class * problem.classes, *shape, generator=generator).to(problem.device)


def select_real(problem: Problem, method: str, times: int = 1) -> Synthetic:
    """Real images of each class, selected by a method on their pixels; `times` as many as there are synthetic images.

    Raises:
        InputError: a class has too few images.
    """
    counts, needed = problem.labels.bincount(minlength=problem.classes), times * problem.per_class
    if int(counts.min()) < needed:
        label, count = int(counts.argmin()), int(counts.min())
        packed = f" with {times} images in each" if times > 1 else ""
        raise InputError(f"distill.per_class={problem.per_class}{packed}: class {label} has only {count} images.")

    generator = torch.Generator().manual_seed(derive(problem.seed, "synthetic"))
    pixels = problem.images.flatten(1).cpu()
    pixels = pixels.float() if SELECTORS.traits(method).embeddings else pixels[:, :0].float()
    selector = SELECTORS.build(method)
    indices = per_class(selector, pixels, problem.labels.cpu(), needed * problem.classes, generator).indices
    images = problem.inputs(problem.images[indices.to(problem.device)])
    return Synthetic(images.contiguous(), problem.labels[indices.to(problem.device)])


class Clipping:
    """Clips the norm of every gradient to `factor` times the moving average of its own clipped norms; a factor of 0 clips nothing.

    Differentiating through training, one batch in thousands has a gradient a hundred times as long as others. Adam then moves by up
    to 16 times its learning rate: its first moment takes the gradient in at once, its second moment only over hundreds of steps.
    """

    def __init__(self, factor: float, device: torch.device) -> None:
        self.factor, self.norms = factor, torch.zeros((), device=device)  # norms: the moving averages; 0: none yet

    def __call__(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        if not self.factor:
            return list(gradients)
        norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
        clipped = torch.where(self.norms > 0, torch.minimum(norms, self.factor * self.norms), norms)
        self.norms = torch.where(self.norms > 0, self.norms.lerp(clipped, 0.1), clipped)
        scales = clipped / norms.clamp_min(1e-30)
        return [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]


def descend(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor], world: int) -> list[Tensor]:
    """One step on all parameters of an optimizer, in their order, with the mean of the workers' gradients. Returns these means."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    means = average_gradients(gradients, world)
    set_gradients(parameters, means)
    step(optimizer)
    return means
