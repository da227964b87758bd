"""The hardest of more images than a batch, as a small network sees them."""

from collections.abc import Callable, Mapping
from typing import Any

from dsopt.data.batches import Batch, take
from dsopt.errors import InputError
from dsopt.training.samplers.contract import Draw, Judge, Keeps, Sampler, sampler
from dsopt.training.samplers.shuffle import shuffle


@sampler(judge=True)
def loss_topk(n: int, batch_size: int, seed: int, judge: Callable[[int], Judge], *, keep: float = 0.5, width: int = 8) -> Keeps:
    """Draw batch_size / keep images, and train on the share `keep` of the highest loss in a small network that is trained along
    on them (Jordan's airbench96, github.com/KellerJordan/cifar10-airbench, whose small network is trained before).

    Every worker chooses in its own slice. The small network keeps its first learning rate.
    """
    if not 0 < keep <= 1:
        raise InputError(f"train.sampler: loss_topk: keep={keep}: must be above 0 and at most 1.")
    return LossTopK(shuffle(n, round(batch_size / keep), seed), keep, judge(width))


class LossTopK:
    """The sampler: candidates, and the network that judges them."""

    def __init__(self, candidates: Sampler, share: float, judge: Judge) -> None:
        self.candidates, self.share, self.judge = candidates, share, judge

    def __call__(self, step: int) -> Draw:
        return self.candidates(step)

    def keep(self, candidates: Batch) -> Batch:
        """The candidates with the highest losses, on which the small network takes a step."""
        losses = self.judge.losses(candidates)
        hardest = losses.topk(max(1, round(self.share * len(losses)))).indices
        batch = candidates._replace(images=take(candidates.images, hardest), labels=candidates.labels[hardest])
        self.judge.update(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        return self.judge.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.judge.load_state_dict(dict(state))
