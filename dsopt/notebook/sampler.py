"""Samplers for a loop of one's own."""

from collections.abc import Callable
from typing import Any

from dsopt.errors import InputError
from dsopt.notebook.arrays import Scores, columns
from dsopt.registry import SAMPLERS
from dsopt.training.samplers.contract import FilteringSampler, LossAwareSampler, Sampler, SmallClassifier


def sampler(
    name: str,
    n: int,
    batch_size: int,
    seed: int = 0,
    *,
    steps: int | None = None,
    scores: Scores | None = None,
    small_classifier: Callable[[int], SmallClassifier] | None = None,
    **options: Any,
) -> Sampler | LossAwareSampler | FilteringSampler:
    """Which of n images each step sees: step -> (indices int64 [b], weights of their losses float [b] or None).

    A sampler with `observe` wants to be told (indices, losses) of every batch; one with `keep` chooses among candidates: see
    `dsopt.training.samplers.contract`.

    Args:
        steps: how many there will be, for samplers that must know.
        scores: {name: [n]}, for samplers that go by them.
        small_classifier: width -> a small classifier that is trained along, for `loss_topk`.
        options: of the sampler.

    Raises:
        InputError: an unknown name or option, or something missing that the sampler needs.
    """
    if n < 1 or batch_size < 1:
        raise InputError(f"sampler: n={n}, batch_size={batch_size}; expected at least one image and one a batch.")
    traits, make = SAMPLERS.traits(name), SAMPLERS.build(name, options)
    more: list[Any] = []
    for key, given in (("steps", steps), ("scores", scores), ("small_classifier", small_classifier)):
        if getattr(traits, key):
            if given is None:
                raise InputError(f"sampler: {name} needs {key}=.")
            more.append(given)
    if traits.scores:
        column = SAMPLERS.options(name, options)["score"]
        more[-1] = {column: columns(scores, [column], f"sampler: {name}", n).squeeze(1)}
    return make(n, batch_size, seed, *more)
