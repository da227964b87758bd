"""Real images compressed into half as many, repeatedly."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Synthetic, distiller
from dsopt.distillation.gradient_matching import distance
from dsopt.distillation.recipe import Recipe
from dsopt.distillation.synthetic import descend, select_real
from dsopt.errors import InputError
from dsopt.seeds import derive

BATCH = 64  # images that are compressed into half as many; the thesis's example


class Halving:
    """In round r of R, 2^(R - r - 1) times the final number of images learn the gradients of the images of the round before."""

    def __init__(self, problem: Problem, rounds: int, learning_rate: float) -> None:
        self.problem, self.device, self.rounds = problem, problem.device, rounds
        self.every = -(-problem.steps // rounds)
        self.networks: dict[str, Any] = {}
        sgd = torch.optim.SGD([torch.zeros(0)], learning_rate, momentum=0.5)  # a placeholder: each round inserts its images
        self.optimizers: dict[str, torch.optim.Optimizer] = {"images": sgd}
        self.step = 0
        self._start_round(select_real(problem, "random", 2**rounds).images)

    def _start_round(self, target: Tensor) -> None:
        """Targets are in blocks of one image of every class; the smaller set starts from the first half of them."""
        self.target = target.detach()
        self.images = self.target[: len(target) // 2].clone().requires_grad_()
        optimizer = self.optimizers["images"]  # the same object in all rounds, as the loop sets its learning rate
        optimizer.state.clear()
        optimizer.param_groups[0]["params"] = [self.images]

    def update(self, batch: Batch) -> dict[str, Tensor]:
        if self.step and self.step % self.every == 0:
            self._start_round(self.images)
        network, half = self.problem.drawn_for(batch), len(self.images)

        # One part of the images, and the two parts of the targets that it stands for: of the first half, and of the second.
        parts = max(1, round(len(self.target) / BATCH))
        part = derive(batch.seed, "part") % parts
        own = slice(half * part // parts, half * (part + 1) // parts)
        targets, labels = torch.cat([self.target[:half][own], self.target[half:][own]]), self._labels(half)[own]
        weights = list(network.parameters())

        def gradients(images: Tensor, labels: Tensor, create_graph: bool) -> tuple[Tensor, ...]:
            return torch.autograd.grad(F.cross_entropy(network(images), labels), weights, create_graph=create_graph)

        loss = distance(gradients(self.images[own], labels, True), gradients(targets, labels.repeat(2), False))
        descend(self.optimizers["images"], torch.autograd.grad(loss, [self.images]), self.problem.world)
        self.step += 1
        return {"loss": loss.detach()}

    def _labels(self, count: int) -> Tensor:
        return torch.arange(count, device=self.device) % self.problem.classes

    def synthetic(self) -> Synthetic:
        return Synthetic(self.images.detach(), self._labels(len(self.images)))

    def recipe(self) -> Recipe:
        return Recipe(augment=list(self.problem.augment))

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizers["images"].state_dict()
        return {"step": self.step, "target": self.target, "images": self.images.detach(), "optimizer": optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._start_round(state["target"].to(self.device))
        self.images.data.copy_(state["images"])
        self.step = state["step"]
        self.optimizers["images"].load_state_dict(state["optimizer"])


@distiller(unrolls=True)
def halving(problem: Problem, *, rounds: int = 2, learning_rate: float = 0.1) -> Halving:
    """Compress batches of 64 images into 32 that give a network the same gradients, and these again (the thesis's chapter 6).

    It starts from 2^`rounds` times the final number of images, all of them real. Every round has an equal part of `distill.steps`,
    and matches the gradients of new networks with the distance of `gradient_matching`. Batches of 64 are the thesis's example; a
    set with fewer images is one batch.

    Raises:
        InputError: `rounds` is below 1 or above the steps, a class has too few real images, or images are not stored as pixels.
    """
    if not 1 <= rounds <= problem.steps:
        raise InputError(f"distill halving: options.rounds={rounds}: must be from 1 to distill.steps={problem.steps}.")
    if problem.stored[0] != "pixels":
        raise InputError(f"distill.stored.name={problem.stored[0]}: halving compresses pixels; expected pixels.")
    return Halving(problem, rounds, learning_rate)
