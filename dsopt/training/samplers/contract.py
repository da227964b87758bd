"""What a sampler is: it chooses the images of each training step.

A sampler is built by `(n, batch_size, seed, *, options) -> Sampler`, registered with `@sampler(...)`. Its arguments name what
the builder receives after these three.

Most samplers are functions of the step alone, so that resuming needs no replay. Two kinds are objects with a state, which is saved
with the checkpoint: a `LossAwareSampler` depends on the losses seen so far, a `FilteringSampler` on the images themselves.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.registry import SAMPLERS

Score = Literal["el2n", "forgetting", "aum", "loss", "mean_probability", "dual", "grand"]  # see dsopt.training.dynamics.SCORES


class BatchIndices(NamedTuple):
    """The images of a step, and the weights of their losses (None: all 1)."""

    indices: Int64[Tensor, " b"]
    weights: Float[Tensor, " b"] | None = None


Sampler = Callable[[int], BatchIndices]  # step -> its images


@runtime_checkable
class LossAwareSampler(Protocol):
    """A sampler that receives the losses of the images it chose, in order; the same on every worker."""

    def __call__(self, step: int) -> BatchIndices: ...
    def observe(self, indices: Int64[Tensor, " b"], losses: Float[Tensor, " b"]) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class FilteringSampler(Protocol):
    """A sampler that chooses more candidates than a batch, and keeps some of each worker's slice of them to train on."""

    def __call__(self, step: int) -> BatchIndices: ...
    def keep(self, candidates: Batch) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class SmallClassifier(Protocol):
    """A small classifier that is trained alongside the main one, to score images for it."""

    def losses(self, batch: Batch) -> Float[Tensor, " b"]: ...
    def update(self, batch: Batch) -> dict[str, Tensor]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def sampler(*, steps: bool = False, scores: bool = False, small_classifier: bool = False) -> Callable[..., Any]:
    """Register a sampler, with the further positional arguments that its builder receives, in this order.

    Args:
        steps: the number of steps of the phase, an int.
        scores: the scores of every image from a proxy's training, {name: [n]} with all names of `Score`.
        small_classifier: width -> a new `SmallClassifier`, a `classifier24` of that width.
    """
    return SAMPLERS.register(steps=steps, scores=scores, small_classifier=small_classifier)
