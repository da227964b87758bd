"""Neural feature regression with pooling."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Stored, Synthetic, distiller
from dsopt.distillation.pool import Pool
from dsopt.distillation.recipe import Recipe, centered, loss_of
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import Init, descend


def ridge(
    known: Float[Tensor, "m d"], targets: Float[Tensor, "m k"], queries: Float[Tensor, "b d"], strength: float
) -> Float[Tensor, "b k"]:
    """Predictions for the rows `queries` by kernel ridge regression with a linear kernel on `known` (equation 5 of FRePo)."""
    kernel = known @ known.T
    kernel = kernel + strength * kernel.diagonal().mean() * torch.eye(len(known), dtype=known.dtype, device=known.device)
    # `solve` would wait for a GPU, to raise for a singular matrix: with this the loss is not finite, which the loop tells.
    return queries @ known.T @ torch.linalg.solve_ex(kernel, targets).result


def margin(targets: Float[Tensor, "m k"]) -> Tensor:
    """The label margin loss: the negative lead of the largest over the second largest element, at most 1/k, averaged over rows."""
    first, second = targets.topk(2, dim=1).values.unbind(1)
    return -(first - second).clamp(max=1 / targets.shape[1]).mean()


class FeatureRegression:
    """Images and labels, learned by ridge regression on the features of a pool of networks."""

    def __init__(
        self, problem: Problem, stored: Stored, pool: Pool, strength: float, rates: tuple[float, float], steps: int
    ) -> None:
        self.problem, self.device, self.pool, self.strength = problem, problem.device, pool, strength
        self.stored, self.labels = stored, stored.labels
        self.soft = centered(stored.labels, problem.classes).requires_grad_()
        self.trained_by = Recipe("adam", rates[1], steps=steps, loss="squared_error", augment=list(problem.augment))
        self.networks: dict[str, Any] = {}
        adam = torch.optim.Adam([stored.leaf, self.soft], rates[0])
        self.optimizers: dict[str, torch.optim.Optimizer] = {"images": adam}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        index, images = self.pool.pick(batch.seed), self.stored.images()
        features = self.pool.networks[index][:-1]
        with torch.no_grad():
            real = features(batch.images)
        predictions = ridge(features(images), self.soft, real, self.strength)
        loss = (predictions - centered(batch.labels, self.problem.classes)).square().sum(1).mean() / 2

        of_images, of_labels = torch.autograd.grad(loss + margin(self.soft), [images, self.soft])
        descend(self.optimizers["images"], [self.stored.leaf_gradient(of_images), of_labels], self.problem.world)
        self.stored.project_leaf()
        self.pool.train(index, self._regression)
        return {"loss": loss.detach()}

    def _regression(self, network: nn.Sequential) -> Tensor:
        return loss_of("squared_error", network(self.stored.images().detach()), self.soft.detach())

    def synthetic(self) -> Synthetic:
        return Synthetic(self.stored.images().detach(), self.labels, self.soft.detach())

    def recipe(self) -> Recipe:
        return self.trained_by

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.optimizers["images"].state_dict()
        learned = {"stored": self.stored.leaf.detach(), "soft": self.soft.detach()}
        return {**learned, "optimizer": optimizer, "pool": self.pool.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.leaf.data.copy_(state["stored"])
        self.soft.data.copy_(state["soft"])
        self.optimizers["images"].load_state_dict(state["optimizer"])
        self.pool.load_state_dict(state["pool"])


@distiller()
def frepo(
    problem: Problem,
    *,
    pool: int = 10,
    age: int = 100,
    strength: float = 1e-6,
    learning_rate: float = 0.003,
    network_rate: float = 0.0003,
    length: int = 500,
    init: Init = "random",
) -> FeatureRegression:
    """Learn images and labels whose ridge regression on the features of a pool of networks predicts real ones (FRePo).

    Zhou et al. 2022 (arXiv:2206.00719, algorithm 1). Every step uses one network of the pool, which then takes one training step on
    the images; after `age` such steps a new network replaces it. The recipe for training on the result is `length` steps of Adam on
    the squared error. The authors optimize with LAMB at 3e-4 for 500,000 steps; here it is Adam, at a higher rate for fewer steps.
    The label margin is a mean over images, as in their code.
    """

    def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, network_rate, fused=True)

    networks = Pool(problem, pool, age, adam)
    rates = (learning_rate, network_rate)
    return FeatureRegression(problem, create_stored(problem, init), networks, strength, rates, length)
