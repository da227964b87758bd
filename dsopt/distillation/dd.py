"""The original dataset distillation."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Stored, Synthetic, distiller
from dsopt.distillation.functional import flat, loss, loss_in_parts
from dsopt.distillation.recipe import Recipe
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import Clipping, Init, descend
from dsopt.distillation.unroll import EAGER, Inner, Numbers, State, Unrolled, Way, differentiate, fastest
from dsopt.errors import InputError
from dsopt.learners.placement import average_gradients


class DatasetDistillation:
    """Images, learning rates [epochs, blocks] (before softplus) and optionally labels, learned through training on them."""

    def __init__(
        self,
        problem: Problem,
        stored: Stored,
        rates: Tensor,
        fixed: dict[str, Tensor],
        soft_labels: bool,
        learning_rate: float,
        clip: float,
    ) -> None:
        self.problem, self.device, self.fixed = problem, problem.device, fixed
        self.stored, self.labels = stored, stored.labels
        self.learned = {"rates": rates.requires_grad_()}  # besides the images
        if soft_labels:
            self.learned["soft"] = F.one_hot(stored.labels, problem.classes).float().requires_grad_()
        self.clipping = Clipping(clip, problem.device)
        self.passes = fastest(self.gradients, problem.compile, problem.device, problem.world)
        self.networks: dict[str, Any] = {}
        # The authors' betas: 0.5 instead of Adam's default of 0.9.
        adam = torch.optim.Adam([stored.leaf, *self.learned.values()], learning_rate, betas=(0.5, 0.999))
        self.optimizers: dict[str, torch.optim.Optimizer] = {"images": adam}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        network = self.problem.drawn_for(batch)
        start = {**dict(network.named_parameters()), **self.fixed}
        loss, gradients = self.passes(network, [start[key].detach() for key, _ in network.named_parameters()], batch)

        gradients = [self.stored.leaf_gradient(gradients[0]), *gradients[1:]]
        gradients = self.clipping(average_gradients(gradients, self.problem.world))
        descend(self.optimizers["images"], gradients, 1)  # 1: they are averaged already
        self.stored.project_leaf()
        return {"loss": loss}

    def gradients(self, network: nn.Sequential, weights: State, batch: Batch, way: Way = EAGER) -> Unrolled:
        """The loss on real images after training from `weights`, and its gradients with respect to the images and `learned`."""
        inputs = [self.stored.images(), *self.learned.values()]
        epochs, blocks = inputs[1].shape

        def given(inputs: Any, t: int) -> list[Tensor]:
            images, rates, *soft = inputs
            targets = soft[0] if soft else self.labels
            block, size = t % blocks, len(images) // blocks
            # A slice, not `chunk`, whose gradient would join the zeros of all other blocks.
            own = slice(block * size, (block + 1) * size)
            return [images[own], targets[own], rates[t // blocks, block]]

        def step(state: State, given: Any, numbers: Numbers, differentiable: bool) -> State:
            (images, targets, rate), w = given, state[0].requires_grad_()
            (gradient,) = torch.autograd.grad(loss(network, w, images, targets), w, create_graph=differentiable)
            return [w - F.softplus(rate) * gradient]

        outer = loss_in_parts(network, batch.images, batch.labels)
        return differentiate(Inner(given, step), [flat(weights)], inputs, 0, epochs * blocks, outer, way=way)

    def synthetic(self) -> Synthetic:
        soft = self.learned["soft"].detach() if "soft" in self.learned else None
        return Synthetic(self.stored.images().detach(), self.labels, soft)

    def recipe(self) -> Recipe:
        return Recipe(rates=F.softplus(self.learned["rates"].detach()).tolist())

    def weights(self) -> dict[str, Tensor]:
        return self.fixed

    def state_dict(self) -> dict[str, Any]:
        learned = {name: value.detach() for name, value in self.learned.items()}
        return {
            "stored": self.stored.leaf.detach(),
            "learned": learned,
            "fixed": self.fixed,
            "norms": self.clipping.norms,
            "optimizer": self.optimizers["images"].state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.leaf.data.copy_(state["stored"])
        for name, value in self.learned.items():
            value.data.copy_(state["learned"][name])
        self.fixed = {name: value.to(self.device) for name, value in state["fixed"].items()}
        self.clipping.norms = state["norms"].to(self.device)
        self.optimizers["images"].load_state_dict(state["optimizer"])


@distiller(unrolls=True, compiles=True)
def dd(
    problem: Problem,
    *,
    per_step: int = 1,
    epochs: int = 3,
    rate: float = 0.02,
    fixed_layers: int = 0,
    soft_labels: bool = False,
    init: Init = "noise",
    learning_rate: float = 0.01,
    clip: float = 0.0,
) -> DatasetDistillation:
    """Learn images and rates such that a few steps of gradient descent on them train the network (the thesis's algorithm 2).

    That is Wang et al. 2018 (arXiv:1811.10959).

    Args:
        per_step: images of every class in a step; the steps are in a fixed order.
        epochs: passes over the images, each with its own learning rates.
        rate: initial learning rate of every step.
        fixed_layers: so many layers, counted from the input, always start from the same weights (the thesis's section 3.2), which
            are stored with the images. With all layers, the images are for one network only.
        soft_labels: labels are learned as well, as vectors that start one-hot (Sucholutsky & Schonlau 2019, arXiv:1910.02551).
        clip: every gradient is clipped to so many times its moving average; 0: no clipping, as the authors do. Without it, one
            batch can undo thousands, which is the more likely the more steps there are.

    Raises:
        InputError: `per_step` does not divide the images of a class, `clip` is below 1, the network has fewer layers, or there are
            transforms.
    """
    if per_step < 1 or epochs < 1 or rate <= 0 or problem.per_class % per_step:
        raise InputError(
            f"distill dd: options.per_step={per_step} must divide distill.per_class={problem.per_class}; "
            "epochs and rate must be above 0."
        )
    if clip and not clip >= 1:
        raise InputError(f"distill dd: options.clip={clip} must be 0 (never) or at least 1.")
    if problem.augment:
        raise InputError(f"distill.augment=[{', '.join(problem.augment)}]: dd trains on its images as they are; expected [].")
    raw = torch.tensor(rate, dtype=torch.float64).expm1().log().float()  # the inverse of softplus
    rates = raw.repeat(epochs, problem.per_class // per_step).to(problem.device)
    fixed = _fixed(problem, fixed_layers)
    return DatasetDistillation(problem, create_stored(problem, init), rates, fixed, soft_labels, learning_rate, clip)


def _fixed(problem: Problem, layers: int) -> dict[str, Float[Tensor, "..."]]:
    """The weights of the first `layers` layers that have any, drawn once."""
    network = problem.drawn(problem.seed, "fixed weights")
    trained = [index for index, module in enumerate(network) if isinstance(module, nn.Conv2d | nn.Linear)]
    if not 0 <= layers <= len(trained):
        raise InputError(f"distill dd: options.fixed_layers={layers}: valid: 0 to the network's {len(trained)}.")
    if layers == 0:
        return {}
    end = trained[layers] if layers < len(trained) else len(network)
    return {name: value.detach() for name, value in network.named_parameters() if int(name.partition(".")[0]) < end}
