"""The steps of a training as torch runs them, or compiled, whichever is faster."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dsopt.errors import JobError, first_line
from dsopt.progress import say

How = Literal["off", "on", "auto"]
P = ParamSpec("P")
R = TypeVar("R")
WARM, WINDOWS, STEPS = 5, 4, 5  # steps before a measurement, its windows, and the steps of each


class Fastest(Generic[P, R]):
    """A function to be called once a step, as it is or compiled.

    "off": as it is. "on": compiled. "auto": as it is in the first steps, compiled in the next ones, and then in the way that took
    less time. All of these are steps of the training. What is compiled sums in another order: results differ by rounding.

    Args:
        key: of the configuration, for messages.
        eager: the function.
        compile: gives the compiled one; called before its first step.
        world: workers, which all take the same way.
    """

    def __init__(
        self, key: str, how: How, eager: Callable[P, R], compile: Callable[[], Callable[P, R]], device: torch.device, world: int = 1
    ) -> None:
        self.key, self.how, self.eager, self.compile, self.device, self.world = key, how, eager, compile, device, world
        self.seconds: dict[str, float] = {}  # of a step, where it was measured
        self._turns = self._auto() if how == "auto" else itertools.repeat(eager if how == "off" else compile())

    def __call__(self, *given: P.args, **named: P.kwargs) -> R:
        way = next(self._turns)
        if way is self.eager:
            return way(*given, **named)
        try:
            return way(*given, **named)
        except Exception as error:  # whatever the compiler does not know, or that there is none
            if self.how == "on":
                raise JobError(f"{self.key}=on: the network cannot be compiled: {first_line(error)}") from error
            say("compile", f"not compiled: {first_line(error)}")
            self._turns = itertools.repeat(self.eager)
            return self.eager(*given, **named)

    def about(self) -> dict[str, Any]:
        """For a manifest: how the steps ran, and what was measured; nothing if they ran as they are."""
        return {} if self.how == "off" else {"compile": self.how, "seconds_per_step": self.seconds}

    def _auto(self) -> Iterator[Callable[P, R]]:
        ways = {"eager": self.eager, "compiled": self.compile()}
        for name, way in ways.items():
            yield from itertools.repeat(way, WARM)
            windows = []
            for _ in range(WINDOWS):
                started = self._now()
                yield from itertools.repeat(way, STEPS)
                windows.append(self._now() - started)
            self.seconds[name] = self._agreed(min(windows) / STEPS)  # the least: a report or a validation may fall between
        yield from itertools.repeat(ways[min(self.seconds, key=self.seconds.__getitem__)])

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _agreed(self, seconds: float) -> float:
        """The slowest worker's, on all of them."""
        if self.world == 1:
            return seconds
        found = torch.tensor(seconds, dtype=torch.float64, device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return float(found)


def passes(network: nn.Module, how: How, device: torch.device, world: int = 1) -> Fastest[[Tensor], Tensor]:
    """A network's forward pass, and with it the backward pass.

    Args:
        network: as `place` gives it.
    """

    def compile() -> Callable[[Tensor], Tensor]:
        compiled = _compiled(network, device)
        return lambda images: compiled(images).clone()  # the next step of a CUDA graph writes to the same place

    return Fastest("train.compile", how, network, compile, device, world)


class Traced:
    """A function of tensors that differentiates inside, to any order, compiled: a graph for each shape of its arguments.

    `torch.compile` alone does not differentiate twice. Here the derivatives are in the graph before it is compiled: it consists of
    the operations of a call, of which the arguments alone may differ in the next one. Everything else is a constant of it.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], device: torch.device) -> None:
        self.function, self.device = function, device
        self.graphs: dict[tuple[torch.Size, ...], Callable[..., Sequence[Tensor]]] = {}

    def __call__(self, *given: Tensor) -> list[Tensor]:
        given, shapes = tuple(value.detach() for value in given), tuple(value.shape for value in given)
        if shapes not in self.graphs:
            from torch.fx.experimental.proxy_tensor import make_fx  # imports the compiler

            with torch.enable_grad():
                self.graphs[shapes] = _compiled(make_fx(self.function)(*given), self.device)
        with torch.no_grad():
            return [value.clone() for value in self.graphs[shapes](*given)]  # as above


def known(value: Float[Tensor, ""], gradients: Sequence[Tensor], of: Sequence[Tensor]) -> Float[Tensor, ""]:
    """A value whose gradients with respect to some tensors are computed already, so that it can be differentiated once."""
    return _Known.apply(value, gradients, *of)  # pyright: ignore[reportReturnType]


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor], *of: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(gradients[0] * gradient for gradient in ctx.saved_tensors)


def _compiled(module: nn.Module, device: torch.device) -> Callable[..., Any]:
    """By `torch.compile`, on a GPU into CUDA graphs, which launch a hundred small kernels as one."""
    return torch.compile(module, mode="reduce-overhead" if device.type == "cuda" else "default", dynamic=False)
