"""Distillers that minimize a loss of the images, with class indices as labels and the default recipe."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Stored, Synthetic
from dsopt.distillation.recipe import Recipe
from dsopt.distillation.synthetic import descend

Loss = Callable[[Tensor, Tensor, Batch], dict[str, Tensor]]  # (images, labels, real images) -> {"loss", and further metrics}


class Matching:
    """A distiller that is determined by its loss and its optimizer.

    Args:
        optimizer: learned tensors -> their optimizer.
    """

    def __init__(
        self, problem: Problem, stored: Stored, optimizer: Callable[[list[Tensor]], torch.optim.Optimizer], loss: Loss
    ) -> None:
        self.problem, self.device, self.loss = problem, problem.device, loss
        self.stored, self.labels = stored, stored.labels
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"images": optimizer([stored.leaf])}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        return self._descend(self.loss, batch)

    def _descend(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        images = self.stored.images()
        metrics = loss(images, self.labels, batch)
        (gradient,) = torch.autograd.grad(metrics["loss"], [images])
        descend(self.optimizers["images"], [self.stored.leaf_gradient(gradient)], self.problem.world)
        self.stored.project_leaf()
        return {name: value.detach() for name, value in metrics.items()}

    def synthetic(self) -> Synthetic:
        return Synthetic(self.stored.images().detach(), self.labels)

    def recipe(self) -> Recipe:
        return Recipe(augment=list(self.problem.augment))

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"stored": self.stored.leaf.detach(), "optimizer": self.optimizers["images"].state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.leaf.data.copy_(state["stored"])
        self.optimizers["images"].load_state_dict(state["optimizer"])
