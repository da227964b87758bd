"""Optimisers as differentiable functions, for training that is differentiated through."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dsopt.distillation.unroll import State


class Inner(NamedTuple):
    """`start(weights)` is the state before the first step; `update(state, gradients, t)` the state after step t (from 0)."""

    start: Callable[[list[Tensor]], State]
    update: Callable[[State, list[Tensor], int], State]


def sgd(rate: float) -> Inner:
    """Plain gradient descent; the state is the weights."""

    def update(state: State, gradients: list[Tensor], t: int) -> State:
        return [w - rate * g for w, g in zip(state, gradients, strict=True)]

    return Inner(list, update)


def adam(rate: float, *, betas: tuple[float, float] = (0.9, 0.999), tiny: float = 1e-16) -> Inner:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1); the state is weights, first and second moments.

    But for `tiny`, which is 1e-8 squared inside of the root: the root's derivative at 0 is infinite.
    """
    b1, b2 = betas

    def start(weights: list[Tensor]) -> State:
        return [*weights, *(torch.zeros_like(w) for w in weights), *(torch.zeros_like(w) for w in weights)]

    def update(state: State, gradients: list[Tensor], t: int) -> State:
        n = len(gradients)
        m = [b1 * m + (1 - b1) * g for m, g in zip(state[n : 2 * n], gradients, strict=True)]
        v = [b2 * v + (1 - b2) * g * g for v, g in zip(state[2 * n :], gradients, strict=True)]
        c1, c2 = 1 - b1 ** (t + 1), 1 - b2 ** (t + 1)
        w = [w - rate * (m / c1) / (v / c2 + tiny).sqrt() for w, m, v in zip(state[:n], m, v, strict=True)]
        return [*w, *m, *v]

    return Inner(start, update)
