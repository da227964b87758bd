"""Gradients through many training steps, with the graph of one step at a time.

Reverse-mode differentiation with checkpointing, by hand. The states of the inner training are kept; the graphs of its steps are
either kept as well, or rebuilt one by one in reverse. In the second case each step costs only the memory of the weights and their
optimizer's state; and if only some states are kept, memory grows with the square root of the number of steps.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

State = list[Tensor]  # weights, then the state of their optimizer
TapedStep = tuple[State, list[Tensor], State]  # a step with its graph: state and inputs before, as leaves, and the state after
InnerStep = Callable[[State, Sequence[Tensor], int, bool], State]  # (state, inputs, t, build a graph?) -> next state


class Unrolled(NamedTuple):
    """The outer loss after the last step, and its gradients with respect to the inputs."""

    loss: Tensor
    gradients: list[Tensor]


def advance(step: InnerStep, state: State, inputs: Sequence[Tensor], start: int, stop: int) -> State:
    """The state after the steps from `start` up to `stop`, without a graph."""
    inputs = [value.detach() for value in inputs]
    for t in range(start, stop):
        state = [value.detach() for value in step([value.detach() for value in state], inputs, t, False)]
    return state


def differentiate(
    step: InnerStep,
    state: State,
    inputs: Sequence[Tensor],
    start: int,
    stop: int,
    outer: Callable[[State], Iterable[Tensor]],
    *,
    every: int = 0,
) -> Unrolled:
    """d sum(outer(state after the steps)) / d inputs, through the steps from `start` up to `stop`; truncated before `start`.

    As in the original dataset distillation (Wang et al. 2018, arXiv:1811.10959), it is exact, but never holds one graph of
    everything.

    Args:
        outer: the terms of the outer loss. Each is differentiated before the next is computed, so that memory is that of one.
        every: 0 keeps the graphs of all steps. 1 keeps only the states, and computes every step twice. A larger value keeps one of
            so many states, and computes most steps three times.
    """
    taped: list[TapedStep] = []
    states: list[State] = []
    for t in range(start, stop):
        if every:
            if (t - start) % every == 0:
                states.append(state)
            state = advance(step, state, inputs, t, t + 1)
        else:
            taped.append(_taped(step, state, inputs, t))
            state = [value.detach() for value in taped[-1][2]]

    # The adjoint: the gradient of the outer loss with respect to the state.
    leaves = [value.detach().requires_grad_() for value in state]
    loss, adjoint = leaves[0].new_zeros(()), [torch.zeros_like(value) for value in leaves]
    for term in outer(leaves):
        torch._foreach_add_(adjoint, torch.autograd.grad(term, leaves, materialize_grads=True))  # pyright: ignore[reportPrivateImportUsage]
        loss += term.detach()

    # Back through the steps, each of which adds its part to the gradients of the inputs.
    total = [torch.zeros_like(value) for value in inputs]
    for before, inputs_before, after in _recomputed(step, states, inputs, start, stop, every) if every else _popped(taped):
        gradients = torch.autograd.grad(after, [*before, *inputs_before], adjoint, materialize_grads=True)
        adjoint = list(gradients[: len(before)])
        torch._foreach_add_(total, gradients[len(before) :])  # pyright: ignore[reportPrivateImportUsage]
    return Unrolled(loss, total)


def _popped(taped: list[TapedStep]) -> Iterator[TapedStep]:
    """The last step first; each graph is freed once it is differentiated."""
    while taped:
        yield taped.pop()


def _recomputed(
    step: InnerStep, states: list[State], inputs: Sequence[Tensor], start: int, stop: int, every: int
) -> Iterator[TapedStep]:
    """All steps with their graphs, the last one first, recomputed from the states that were kept."""
    for first in reversed(range(start, stop, every)):
        part = [states.pop()]
        for t in range(first, min(first + every, stop) - 1):
            part.append(advance(step, part[-1], inputs, t, t + 1))
        while part:
            yield _taped(step, part.pop(), inputs, first + len(part))


def _taped(step: InnerStep, state: State, inputs: Sequence[Tensor], t: int) -> TapedStep:
    """One step with its graph: the state and inputs before it, as leaves, and the state after it."""
    before = [value.detach().requires_grad_() for value in state]
    inputs_before = [value.detach().requires_grad_() for value in inputs]
    return before, inputs_before, step(before, inputs_before, t, True)
