"""Random truncated back-propagation through a long training."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dsopt.augment import draws
from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Stored, Synthetic, distiller
from dsopt.distillation.inner import Inner, adam, sgd
from dsopt.distillation.recipe import Recipe, augmented
from dsopt.distillation.stored import begin
from dsopt.distillation.synthetic import Init, descend
from dsopt.distillation.unroll import State, Unrolled, advance, differentiate
from dsopt.errors import InputError
from dsopt.learners.parts import average_gradients
from dsopt.seeds import derive

DECAY, MOST = 0.9, 2.0  # of the moving average of the gradient's norm, and how much of it a gradient may have: the authors' code


class TruncatedBackpropagation:
    """Images, and perhaps labels, learned through a window of `window` of the `length` steps of an inner training."""

    def __init__(
        self, problem: Problem, stored: Stored, inner: Inner, recipe: Recipe, window: int, soft_labels: bool, learning_rate: float
    ) -> None:
        self.problem, self.device, self.inner, self.window = problem, problem.device, inner, window
        self.stored, self.labels, self.trained_by = stored, stored.labels, recipe
        self.learned: dict[str, Tensor] = {}  # beside the images
        if soft_labels:
            self.learned["soft"] = F.one_hot(stored.labels, problem.classes).float().requires_grad_()
        self.norm = torch.zeros((), device=problem.device)  # the moving average of the images' gradient
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "images": torch.optim.Adam([stored.leaf, *self.learned.values()], learning_rate)
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        # All workers draw the same window: its place decides how long a step takes.
        begin = derive(batch.seed, "window") % (self.trained_by.steps - self.window + 1)
        loss, gradients = self.gradients(self.problem.network(), batch, begin)
        means = self._clipped(average_gradients(gradients, self.problem.world))
        descend(self.optimizers["images"], [self.stored.pull(means[0]), *means[1:]], 1)
        self.stored.settled()
        if "soft" in self.learned:
            self.learned["soft"].data.clamp_min_(0)  # as the authors do
        return {"loss": loss}

    def gradients(self, network: nn.Sequential, batch: Batch, begin: int) -> Unrolled:
        """The loss of real images after `begin` steps and a window, and its gradients through the window."""
        names = [name for name, _ in network.named_parameters()]
        inputs, count = [self.stored.images(), *self.learned.values()], len(names)

        def loss(weights: State, x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(network, dict(zip(names, weights, strict=True)), (x,)), y)

        def step(state: State, given: Any, t: int, differentiable: bool) -> State:
            images, *soft = given
            draw = draws(derive(batch.seed, "inner", t), len(images), 0, len(images), images.device)
            x, weights = augmented(images, self.problem.augment, draw), [value.requires_grad_() for value in state[:count]]
            found = torch.autograd.grad(loss(weights, x, soft[0] if soft else self.labels), weights, create_graph=differentiable)
            return self.inner.update([*weights, *state[count:]], list(found), t)

        def outer(state: State) -> Tensor:
            return loss(state[:count], batch.images, batch.labels)

        state = self.inner.start([value.detach() for value in network.parameters()])
        state = advance(step, state, inputs, 0, begin)
        return differentiate(step, state, inputs, begin, begin + self.window, outer, keep=False)

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        norm = torch.linalg.vector_norm(gradients[0])
        self.norm = torch.where(self.norm > 0, DECAY * self.norm + (1 - DECAY) * norm, norm)
        return [gradients[0] * (MOST * self.norm / norm.clamp_min(1e-12)).clamp(max=1), *gradients[1:]]

    def synthetic(self) -> Synthetic:
        soft = self.learned["soft"].detach() if "soft" in self.learned else None
        return Synthetic(self.stored.images().detach(), self.labels, soft)

    def recipe(self) -> Recipe:
        return self.trained_by

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        learned = {name: value.detach() for name, value in self.learned.items()}
        return {
            "stored": self.stored.leaf.detach(),
            "learned": learned,
            "norm": self.norm,
            "optimizer": self.optimizers["images"].state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.leaf.data.copy_(state["stored"])
        for name, value in self.learned.items():
            value.data.copy_(state["learned"][name])
        self.norm = state["norm"].to(self.device)
        self.optimizers["images"].load_state_dict(state["optimizer"])


@distiller(unrolls=True)
def bptt(
    problem: Problem,
    *,
    length: int = 60,
    window: int = 20,
    inner: Literal["adam", "sgd"] = "adam",
    inner_rate: float = 0.001,
    soft_labels: bool = False,
    init: Init = "noise",
    learning_rate: float = 0.001,
) -> TruncatedBackpropagation:
    """Learn images through a window at a random place of a long training by Adam (RaT-BPTT, Feng et al. 2024, arXiv:2311.07025).

    Every step starts from a fresh network, trains it `length` steps at most on all images at once, and differentiates through the
    last `window` of these; the gradient's norm is held to twice its moving average. The authors' CIFAR-10 setting is length 200,
    window 60; the defaults are for small machines. Unlike in their code, a window is drawn anew at every step, images do not start
    with unit norm, and there is no ZCA. Memory: weights and Adam's moments for each step of the window, and one step's graph.

    Raises:
        InputError: the window does not fit.
    """
    if not 1 <= window <= length:
        raise InputError(f"distill bptt: options.window={window} must be from 1 to options.length={length}.")
    recipe = Recipe(inner, inner_rate, steps=length, augment=list(problem.augment))
    moves = adam(inner_rate) if inner == "adam" else sgd(inner_rate)
    return TruncatedBackpropagation(problem, begin(problem, init), moves, recipe, window, soft_labels, learning_rate)
