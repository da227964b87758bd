"""Optimizers as differentiable functions, for differentiating through training."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dsopt.distillation.unroll import Numbers, State


class InnerOptimizer(NamedTuple):
    """`start(weights)` is the state before the first step; `update(state, gradients, numbers(t))` that after step t (from 0)."""

    start: Callable[[list[Tensor]], State]
    update: Callable[[State, list[Tensor], Numbers], State]
    numbers: Callable[[int], Sequence[float]]


def sgd(rate: float) -> InnerOptimizer:
    """Plain gradient descent; the state is the weights."""

    def update(state: State, gradients: list[Tensor], numbers: Numbers) -> State:
        return [w - rate * g for w, g in zip(state, gradients, strict=True)]

    return InnerOptimizer(list, update, lambda t: ())


def adam(rate: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-16) -> InnerOptimizer:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1); the state is weights, first and second moments.

    Unlike there, `eps` is inside the square root, whose derivative at 0 is infinite; its default is the square of the usual 1e-8.
    """
    b1, b2 = betas

    def start(weights: list[Tensor]) -> State:
        return [*weights, *(torch.zeros_like(w) for w in weights), *(torch.zeros_like(w) for w in weights)]

    def update(state: State, gradients: list[Tensor], numbers: Numbers) -> State:
        n, (c1, c2) = len(gradients), numbers
        m = [b1 * m + (1 - b1) * g for m, g in zip(state[n : 2 * n], gradients, strict=True)]
        v = [b2 * v + (1 - b2) * g * g for v, g in zip(state[2 * n :], gradients, strict=True)]
        w = [w - rate * (m / c1) / (v / c2 + eps).sqrt() for w, m, v in zip(state[:n], m, v, strict=True)]
        return [*w, *m, *v]

    return InnerOptimizer(start, update, lambda t: (1 - b1 ** (t + 1), 1 - b2 ** (t + 1)))
