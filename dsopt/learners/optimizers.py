"""The optimizers of classifiers."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

Name = Literal["sgd", "nesterov", "adam", "adamw", "muon"]
Decay = Literal["dense", "weights"]

BETAS = (0.9, 0.999)


def optimizer_of(
    network: nn.Module, name: Name, learning_rate: float, momentum: float, weight_decay: float, decay: Decay
) -> Optimizer:
    """The optimizer of a network's weights.

    Args:
        name: "nesterov": SGD with Nesterov's momentum, which must be above 0.
        momentum: of "sgd", "nesterov" and of the matrices of "muon"; Adam and AdamW have their own.
        decay: "dense": weight decay of fully connected layers only (selection paper, section 4.1.1); "weights": of all weights of
            two dimensions or more, so not of norms and biases.
    """
    dense = [module.weight for module in network.modules() if isinstance(module, nn.Linear)]
    parameters = [p for p in network.parameters() if p.requires_grad]
    decayed = dense if decay == "dense" else [p for p in parameters if p.ndim > 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": _without(parameters, decayed), "weight_decay": 0.0},
    ]
    if name == "sgd":
        return SGD(groups, learning_rate, momentum=momentum, fused=True)
    if name == "nesterov":
        return SGD(groups, learning_rate, momentum=momentum, nesterov=True, fused=True)
    if name == "adam":
        return Adam(groups, learning_rate, betas=BETAS, fused=True)
    if name == "adamw":
        return AdamW(groups, learning_rate, betas=BETAS, fused=True)
    last = dense[-1:]  # one row a class: of a last layer, as of norms and biases, no orthogonal step is wanted
    matrices = _without([p for p in parameters if p.ndim > 1], last)
    parts = [
        {"params": [p for p in group["params"] if any(p is m for m in matrices) == is_matrix], **rest, "matrices": is_matrix}
        for group in groups
        for is_matrix in (True, False)
        for rest in [{"weight_decay": group["weight_decay"]}]
    ]
    return Muon([part for part in parts if part["params"]], learning_rate, momentum)


def _without(parameters: Iterable[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    return [p for p in parameters if all(p is not other for other in others)]


class Muon(Optimizer):
    """Muon (Jordan 2024): for matrices the momentum's nearest semi-orthogonal matrix is the step; AdamW for all other weights.

    A kernel of a convolution is the matrix [out, in x height x width]. Steps of matrices are scaled by 0.2 sqrt(larger side) (Liu
    et al. 2025, arXiv:2502.16982, equation 4), which makes them as large as AdamW's: both have one learning rate.

    Args:
        groups: parameter groups, each with "matrices": whether it holds matrices.
    """

    def __init__(self, groups: list[dict[str, Any]], learning_rate: float, momentum: float) -> None:
        super().__init__(groups, {"lr": learning_rate, "momentum": momentum, "weight_decay": 0.0, "matrices": True})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    (self._matrix if group["matrices"] else self._other)(parameter, parameter.grad, group)

    def _matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(state["momentum"], group["momentum"])  # Nesterov's
        flat = orthogonal(update.flatten(1))
        parameter.add_(flat.view_as(update), alpha=-group["lr"] * 0.2 * max(flat.shape) ** 0.5)

    def _other(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - BETAS[1])
        mean, square = (state[key] / (1 - beta ** state["step"]) for key, beta in zip(("mean", "square"), BETAS, strict=True))
        parameter.addcdiv_(mean, square.sqrt().add_(1e-8), value=-group["lr"])


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the nearest semi-orthogonal matrix of [m, n]: its singular values go to 0.7 to 1.2 by Newton and Schulz's iteration.

    The coefficients are Jordan's, which converge fast rather than exactly.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x
