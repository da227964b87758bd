"""Gradients through many steps of training, one step's graph at a time.

Reverse-mode differentiation by hand: states of the inner training are kept, and the graphs of its steps either kept too or built
again one by one, in reverse. Then memory grows with the number of steps only by the weights and what their optimiser keeps, or, if
only some states are kept, with the square root of it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

State = list[Tensor]  # weights, then what their optimiser keeps of them
Taped = tuple[State, list[Tensor], State]  # a step with its graph: state and inputs before, as leaves, and the state after
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
    every: int = 0,
) -> Unrolled:
    """d sum(outer(state after the steps)) / d inputs, back through the steps `start` to `stop` (truncated there).

    As the original distillation does (Wang et al. 2018, arXiv:1811.10959): exact, without one graph of everything.

    Args:
        outer: the terms of a loss, each differentiated before the next is asked for: memory is that of one.
        every: 0: the graphs of all steps are kept. 1: only all states, and every step is done twice. More: only one state of so
            many, and most steps are done three times.
    """
    taped: list[Taped] = []
    states: list[State] = []
    for t in range(start, stop):
        if every:
            if (t - start) % every == 0:
                states.append(state)
            state = advance(step, state, inputs, t, t + 1)
        else:
            taped.append(_taped(step, state, inputs, t))
            state = [value.detach() for value in taped[-1][2]]
    leaves = [value.detach().requires_grad_() for value in state]
    loss, adjoint = leaves[0].new_zeros(()), [torch.zeros_like(value) for value in leaves]
    for term in outer(leaves):
        torch._foreach_add_(adjoint, torch.autograd.grad(term, leaves, materialize_grads=True))  # pyright: ignore[reportPrivateImportUsage]
        loss += term.detach()
    total = [torch.zeros_like(value) for value in inputs]
    for before, given, after in _again(step, states, inputs, start, stop, every) if every else _popped(taped):
        found = torch.autograd.grad(after, [*before, *given], adjoint, materialize_grads=True)
        adjoint = list(found[: len(before)])
        torch._foreach_add_(total, found[len(before) :])  # pyright: ignore[reportPrivateImportUsage]
    return Unrolled(loss, total)


def _popped(taped: list[Taped]) -> Iterator[Taped]:
    while taped:
        yield taped.pop()


def _again(step: Step, states: list[State], inputs: Sequence[Tensor], start: int, stop: int, every: int) -> Iterator[Taped]:
    """All steps with their graphs, the last one first, from the states that were kept."""
    for first in reversed(range(start, stop, every)):
        part = [states.pop()]
        for t in range(first, min(first + every, stop) - 1):
            part.append(advance(step, part[-1], inputs, t, t + 1))
        while part:
            yield _taped(step, part.pop(), inputs, first + len(part))


def _taped(step: Step, state: State, inputs: Sequence[Tensor], t: int) -> Taped:
    """One step with its graph: what went in, as leaves, and what came out."""
    before = [value.detach().requires_grad_() for value in state]
    given = [value.detach().requires_grad_() for value in inputs]
    return before, given, step(before, given, t, True)
