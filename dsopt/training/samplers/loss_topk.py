"""The hardest of a larger pool of candidates, according to a small classifier."""

from collections.abc import Callable, Mapping
from typing import Any

from dsopt.data.batches import Batch, take
from dsopt.errors import InputError
from dsopt.training.samplers.contract import BatchIndices, FilteringSampler, Sampler, SmallClassifier, sampler
from dsopt.training.samplers.shuffle import shuffle


@sampler(small_classifier=True)
def loss_topk(
    n: int,
    batch_size: int,
    seed: int,
    small_classifier: Callable[[int], SmallClassifier],
    *,
    keep: float = 0.5,
    width: int = 8,
) -> FilteringSampler:
    """Choose batch_size / keep candidates, and train on the fraction `keep` of them with the highest losses in a small classifier.

    The small classifier is trained alongside, on the same images. After Jordan's airbench96
    (github.com/KellerJordan/cifar10-airbench), which trains its small network beforehand. Every worker chooses within its own slice
    of the candidates. The small classifier keeps its initial learning rate.
    """
    if not 0 < keep <= 1:
        raise InputError(f"train.sampler: loss_topk: keep={keep}: must be above 0 and at most 1.")
    return LossTopK(shuffle(n, round(batch_size / keep), seed), keep, small_classifier(width))


class LossTopK:
    """The sampler: candidates, and the classifier that scores them."""

    def __init__(self, candidates: Sampler, fraction: float, classifier: SmallClassifier) -> None:
        self.candidates, self.fraction, self.classifier = candidates, fraction, classifier

    def __call__(self, step: int) -> BatchIndices:
        return self.candidates(step)

    def keep(self, candidates: Batch) -> Batch:
        """The candidates with the highest losses, on which the small classifier takes a step."""
        losses = self.classifier.losses(candidates)
        hardest = losses.topk(max(1, round(self.fraction * len(losses)))).indices
        batch = candidates._replace(images=take(candidates.images, hardest), labels=candidates.labels[hardest])
        self.classifier.update(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        return self.classifier.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.classifier.load_state_dict(dict(state))
