"""Gradients through many steps of training, one step's graph at a time.

Reverse-mode differentiation by hand: the states of the inner training are kept, and the graphs of its steps either kept too or
built again one by one, in reverse. Then memory grows with the number of steps only by the weights and what their optimiser keeps.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

State = list[Tensor]  # weights, then what their optimiser keeps of them
Step = Callable[[State, Sequence[Tensor], int, bool], State]  # (state, inputs, t, whether to differentiate it) -> next state


class Unrolled(NamedTuple):
    """The outer loss after the last step, and its gradients in the inputs."""

    loss: Tensor
    gradients: list[Tensor]


def advance(step: Step, state: State, inputs: Sequence[Tensor], start: int, stop: int) -> State:
    """The state after the steps `start` to `stop`, without any graph."""
    inputs = [value.detach() for value in inputs]
    for t in range(start, stop):
        state = [value.detach() for value in step([value.detach() for value in state], inputs, t, False)]
    return state


def differentiate(
    step: Step,
    state: State,
    inputs: Sequence[Tensor],
    start: int,
    stop: int,
    outer: Callable[[State], Iterable[Tensor]],
    *,
    keep: bool,
) -> Unrolled:
    """d sum(outer(state after the steps)) / d inputs, back through the steps `start` to `stop` (truncated there).

    As the original distillation does (Wang et al. 2018, arXiv:1811.10959): exact, without one graph of everything.

    Args:
        outer: the terms of a loss, each differentiated before the next is asked for: memory is that of one.
        keep: the graphs of all steps; else only the states, and every step is done twice.
    """
    taped, states = [], []
    for t in range(start, stop):
        if keep:
            taped.append(_taped(step, state, inputs, t))
            state = [value.detach() for value in taped[-1][2]]
        else:
            states.append(state)
            state = advance(step, state, inputs, t, t + 1)
    leaves = [value.detach().requires_grad_() for value in state]
    loss, adjoint = leaves[0].new_zeros(()), [torch.zeros_like(value) for value in leaves]
    for term in outer(leaves):
        torch._foreach_add_(adjoint, torch.autograd.grad(term, leaves, materialize_grads=True))  # pyright: ignore[reportPrivateImportUsage]
        loss += term.detach()
    total = [torch.zeros_like(value) for value in inputs]
    for t in reversed(range(start, stop)):
        before, given, after = taped.pop() if keep else _taped(step, states.pop(), inputs, t)
        found = torch.autograd.grad(after, [*before, *given], adjoint, materialize_grads=True)
        adjoint = list(found[: len(before)])
        torch._foreach_add_(total, found[len(before) :])  # pyright: ignore[reportPrivateImportUsage]
    return Unrolled(loss, total)


def _taped(step: Step, state: State, inputs: Sequence[Tensor], t: int) -> tuple[State, list[Tensor], State]:
    """One step with its graph: what went in, as leaves, and what came out."""
    before = [value.detach().requires_grad_() for value in state]
    given = [value.detach().requires_grad_() for value in inputs]
    return before, given, step(before, given, t, True)
