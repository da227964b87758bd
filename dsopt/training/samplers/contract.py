"""What a sampler is.

A sampler is made by `(n, batch_size, seed, *, options) -> Sampler`, entered with `@sampler(...)`, which says what else its maker is
given after these three.

Most are functions of the step alone, so that resuming needs no replay. Two kinds are objects with a state, which is saved with the
checkpoint: one that goes by what it has seen of the losses `Learns`, one that looks at the images before it decides `Keeps`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.registry import SAMPLERS

Score = Literal["el2n", "forgetting", "aum", "loss", "mean_probability", "dual", "grand"]  # see dsopt.training.dynamics.SCORES


class Draw(NamedTuple):
    """The images of a step, and the weights of their losses (None: all 1)."""

    indices: Int64[Tensor, " b"]
    weights: Float[Tensor, " b"] | None = None


Sampler = Callable[[int], Draw]  # step -> draw


@runtime_checkable
class Learns(Protocol):
    """A sampler that is told the losses of the images it gave, in order; the same on every worker."""

    def __call__(self, step: int) -> Draw: ...
    def observe(self, indices: Int64[Tensor, " b"], losses: Float[Tensor, " b"]) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Keeps(Protocol):
    """A sampler that draws more than a batch, and of a worker's slice of these keeps what is to be trained on."""

    def __call__(self, step: int) -> Draw: ...
    def keep(self, candidates: Batch) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Judge(Protocol):
    """A small classifier that is trained beside the one it serves."""

    def losses(self, batch: Batch) -> Float[Tensor, " b"]: ...
    def update(self, batch: Batch) -> dict[str, Tensor]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def sampler(*, steps: bool = False, scores: bool = False, judge: bool = False) -> Callable[..., Any]:
    """Enter a sampler, with what its maker is given as further positional arguments, in this order.

    Args:
        steps: how many there will be in the phase, an int.
        scores: what a proxy's training told about every image, {name: [n]} with all names of `Score`.
        judge: width -> a fresh `Judge`, a `classifier24` of that width.
    """
    return SAMPLERS.register(steps=steps, scores=scores, judge=judge)
