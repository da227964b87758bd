"""Gradients through many training steps, with the graph of one step at a time.

Reverse-mode differentiation with checkpointing, by hand. The states of the inner training are kept; the graphs of its steps are
either kept as well, or rebuilt one by one in reverse. In the second case each step costs only the memory of the weights and their
optimizer's state; and if only some states are kept, memory grows with the square root of the number of steps.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from dsopt.data.batches import moved
from dsopt.learners.compiled import Fastest, How, Traced

State = list[Tensor]  # weights, then the state of their optimizer
Adjoint = list[Tensor]  # the gradient of the outer loss with respect to a state
Numbers = Sequence[float] | Sequence[Tensor]


class Inner(NamedTuple):
    """A step of the inner training.

    Args:
        given: (inputs, t) -> what step t takes of the inputs; differentiable, and of the same shapes for every step.
        step: (state, given, numbers, build a graph?) -> next state; the same operations for every step.
        numbers: t -> what else differs between steps, such as Adam's corrections.
    """

    given: Callable[[Sequence[Tensor], int], list[Tensor]]
    step: Callable[[State, Sequence[Tensor], Numbers, bool], State]
    numbers: Callable[[int], Sequence[float]] = lambda t: ()


class Outer(NamedTuple):
    """The outer loss: the sum of `term(state, *part)` over the parts, each with a graph of its own."""

    term: Callable[..., Tensor]
    parts: Sequence[tuple[Tensor, ...]]


class Tape(NamedTuple):
    """A step that can be differentiated.

    Args:
        after: the state after it.
        pull: the adjoint after it -> that before it, and the gradients of the inputs.
    """

    after: Callable[[], State]
    pull: Callable[[Adjoint], tuple[Adjoint, list[Tensor]]]


class Unrolled(NamedTuple):
    """The outer loss after the last step, and its gradients with respect to the inputs."""

    loss: Tensor
    gradients: list[Tensor]


@runtime_checkable
class Way(Protocol):
    """How steps are taken and differentiated."""

    def advance(self, inner: Inner, state: State, inputs: Sequence[Tensor], t: int) -> State:
        """The state after step t, without a graph."""
        ...

    def tape(self, inner: Inner, state: State, inputs: Sequence[Tensor], t: int) -> Tape: ...

    def start(self, outer: Outer, state: State) -> tuple[Tensor, Adjoint]:
        """The outer loss and its gradient."""
        ...


class Eager:
    """By torch's own graphs."""

    def advance(self, inner: Inner, state: State, inputs: Sequence[Tensor], t: int) -> State:
        return _detached(inner.step(_detached(state), inner.given(_detached(inputs), t), inner.numbers(t), False))

    def tape(self, inner: Inner, state: State, inputs: Sequence[Tensor], t: int) -> Tape:
        before, taken = _leaves(state), _leaves(inputs)
        after = inner.step(before, inner.given(taken, t), inner.numbers(t), True)

        def pull(adjoint: Adjoint) -> tuple[Adjoint, list[Tensor]]:
            found = list(torch.autograd.grad(after, [*before, *taken], adjoint, materialize_grads=True))
            return found[: len(before)], found[len(before) :]

        return Tape(lambda: _detached(after), pull)

    def start(self, outer: Outer, state: State) -> tuple[Tensor, Adjoint]:
        leaves = _leaves(state)
        loss, adjoint = leaves[0].new_zeros(()), [torch.zeros_like(value) for value in leaves]
        for part in outer.parts:  # differentiated before the next is computed, so that memory is that of one
            term = outer.term(leaves, *part)
            _add(adjoint, torch.autograd.grad(term, leaves, materialize_grads=True))
            loss += term.detach()
        return loss, adjoint


class Compiled:
    """By compiled graphs: of a step, of a step with its derivatives, and of a term of the outer loss with its own.

    They are made of the first `Inner` and `Outer`, and serve all later ones: these may differ in the tensors that they take, and in
    a network's own weights. No graph of torch's is kept: what differentiates a step computes it anew.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.traced: dict[str, Traced] = {}
        self.known: dict[int, list[Tensor]] = {}  # numbers of steps, on the device

    def advance(self, inner: Inner, state: State, inputs: Sequence[Tensor], t: int) -> State:
        return self._advance(inner, state, inner.given(_detached(inputs), t), t)

    def tape(self, inner: Inner, state: State, inputs: Sequence[Tensor], t: int) -> Tape:
        taken = _leaves(inputs)
        given = inner.given(taken, t)
        n, g, learned = len(state), len(given), [index for index, value in enumerate(given) if value.requires_grad]

        def differentiated(*values: Tensor) -> list[Tensor]:
            before, numbers = _leaves(values[:n]), values[n + g : -n]
            held = [value.detach().requires_grad_(index in learned) for index, value in enumerate(values[n : n + g])]
            wanted = [*before, *(held[index] for index in learned)]
            return list(torch.autograd.grad(inner.step(before, held, numbers, True), wanted, values[-n:], materialize_grads=True))

        def pull(adjoint: Adjoint) -> tuple[Adjoint, list[Tensor]]:
            found = self._by("pull", differentiated)(*state, *given, *self._numbers(inner, t, state[0]), *adjoint)
            of_inputs = torch.autograd.grad([given[index] for index in learned], taken, found[n:], materialize_grads=True)
            return found[:n], list(of_inputs)

        return Tape(lambda: self._advance(inner, state, given, t), pull)

    def start(self, outer: Outer, state: State) -> tuple[Tensor, Adjoint]:
        n = len(state)

        def differentiated(*values: Tensor) -> list[Tensor]:
            leaves = _leaves(values[:n])
            term = outer.term(leaves, *values[n:])
            return [term, *torch.autograd.grad(term, leaves, materialize_grads=True)]

        loss, *adjoint = self._by("outer", differentiated)(*state, *outer.parts[0])
        for part in outer.parts[1:]:
            term, *gradients = self.traced["outer"](*state, *part)
            _add(adjoint, gradients)
            loss += term
        return loss, adjoint

    def _advance(self, inner: Inner, state: State, given: Sequence[Tensor], t: int) -> State:
        n, g = len(state), len(given)

        def stepped(*values: Tensor) -> list[Tensor]:
            return _detached(inner.step(list(values[:n]), values[n : n + g], values[n + g :], False))

        return self._by("step", stepped)(*state, *given, *self._numbers(inner, t, state[0]))

    def _by(self, name: str, function: Callable[..., list[Tensor]]) -> Traced:
        return self.traced.setdefault(name, Traced(function, self.device))

    def _numbers(self, inner: Inner, t: int, like: Tensor) -> list[Tensor]:
        if t not in self.known:
            self.known[t] = [moved(torch.tensor(number, dtype=like.dtype), self.device) for number in inner.numbers(t)]
        return self.known[t]


EAGER = Eager()


def fastest(gradients: Callable[..., Unrolled], how: How, device: torch.device, world: int) -> Fastest[..., Unrolled]:
    """A function that takes a `way`, by the eager one or the compiled one.

    Its steps are to have the same shapes all the time, and a network without buffers.
    """
    return Fastest("distill.compile", how, gradients, lambda: partial(gradients, way=Compiled(device)), device, world)


def advance(inner: Inner, state: State, inputs: Sequence[Tensor], start: int, stop: int, way: Way = EAGER) -> State:
    """The state after the steps from `start` up to `stop`, without a graph."""
    for t in range(start, stop):
        state = way.advance(inner, state, inputs, t)
    return state


def differentiate(
    inner: Inner,
    state: State,
    inputs: Sequence[Tensor],
    start: int,
    stop: int,
    outer: Outer,
    *,
    every: int = 0,
    way: Way = EAGER,
) -> Unrolled:
    """d outer(state after the steps) / d inputs, through the steps from `start` up to `stop`; truncated before `start`.

    As in the original dataset distillation (Wang et al. 2018, arXiv:1811.10959), it is exact, but never holds one graph of
    everything.

    Args:
        every: 0 keeps the graphs of all steps. 1 keeps only the states, and computes every step twice. A larger value keeps one of
            so many states, and computes most steps three times.
    """
    taped: list[Tape] = []
    states: list[State] = []
    for t in range(start, stop):
        if every:
            if (t - start) % every == 0:
                states.append(state)
            state = way.advance(inner, state, inputs, t)
        else:
            taped.append(way.tape(inner, state, inputs, t))
            state = taped[-1].after()
    loss, adjoint = way.start(outer, state)

    # Back through the steps, each of which adds its part to the gradients of the inputs.
    total = [torch.zeros_like(value) for value in inputs]
    for step in _recomputed(inner, states, inputs, start, stop, every, way) if every else _popped(taped):
        adjoint, gradients = step.pull(adjoint)
        _add(total, gradients)
    return Unrolled(loss, total)


def _popped(taped: list[Tape]) -> Iterator[Tape]:
    """The last step first; each graph is freed once it is differentiated."""
    while taped:
        yield taped.pop()


def _recomputed(
    inner: Inner, states: list[State], inputs: Sequence[Tensor], start: int, stop: int, every: int, way: Way
) -> Iterator[Tape]:
    """All steps with their graphs, the last one first, recomputed from the states that were kept."""
    for first in reversed(range(start, stop, every)):
        part = [states.pop()]
        for t in range(first, min(first + every, stop) - 1):
            part.append(way.advance(inner, part[-1], inputs, t))
        while part:
            yield way.tape(inner, part.pop(), inputs, first + len(part))


def _detached(values: Sequence[Tensor]) -> list[Tensor]:
    return [value.detach() for value in values]


def _leaves(values: Sequence[Tensor]) -> list[Tensor]:
    return [value.detach().requires_grad_() for value in values]


def _add(total: list[Tensor], more: list[Tensor] | tuple[Tensor, ...]) -> None:
    torch._foreach_add_(total, more)  # pyright: ignore[reportPrivateImportUsage]
