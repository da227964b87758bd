"""The passes of a network as torch runs them, or compiled, whichever is faster."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dsopt.errors import JobError, first_line
from dsopt.progress import say

How = Literal["off", "on", "auto"]
WARM, WINDOWS, STEPS = 5, 4, 5  # steps before a measurement, its windows, and the steps of each


class Passes:
    """A network's forward pass, and with it the backward pass, to be called once a step.

    "off": the network as it is. "on": compiled by `torch.compile`, on a GPU into CUDA graphs, which launch a hundred small kernels
    as one. "auto": the first steps are taken as it is, the next ones compiled, and the rest in the way that took less time. All of
    these are steps of the training. Compiled passes sum in another order: results differ by rounding.

    Args:
        network: as `place` gives it.
        world: workers, which all take the same way.
    """

    def __init__(self, network: nn.Module, how: How, device: torch.device, world: int = 1) -> None:
        self.network, self.how, self.device, self.world = network, how, device, world
        self.seconds: dict[str, float] = {}  # of a step, where it was measured
        self._turns = self._auto() if how == "auto" else itertools.repeat(network if how == "off" else self._compiled())

    def __call__(self, images: Tensor) -> Tensor:
        network = next(self._turns)
        if network is self.network:
            return network(images)
        try:
            return network(images).clone()  # the next step of a CUDA graph writes to the same place
        except Exception as error:  # whatever the compiler does not know, or that there is none
            if self.how == "on":
                raise JobError(f"train.compile=on: the network cannot be compiled: {first_line(error)}") from error
            say("compile", f"not compiled: {first_line(error)}")
            self._turns = itertools.repeat(self.network)
            return self.network(images)

    def about(self) -> dict[str, Any]:
        """For a manifest: how the network ran, and what was measured; nothing if it ran as it is."""
        return {} if self.how == "off" else {"compile": self.how, "seconds_per_step": self.seconds}

    def _compiled(self) -> Callable[[Tensor], Tensor]:
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        return torch.compile(self.network, mode=mode, dynamic=False)

    def _auto(self) -> Iterator[Callable[[Tensor], Tensor]]:
        ways: dict[str, Callable[[Tensor], Tensor]] = {"eager": self.network, "compiled": self._compiled()}
        for name, network in ways.items():
            yield from itertools.repeat(network, WARM)
            windows = []
            for _ in range(WINDOWS):
                started = self._now()
                yield from itertools.repeat(network, STEPS)
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
