"""Data pruning during training: some well-learned images are skipped, and the others weighted for them."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.errors import InputError
from dsopt.seeds import derive
from dsopt.training.samplers.contract import BatchIndices, LossAwareSampler, sampler


@sampler(steps=True)
def infobatch(n: int, batch_size: int, seed: int, steps: int, *, r: float = 0.5, delta: float = 0.875) -> LossAwareSampler:
    """Skip images of low loss at random, and weight the others for them (InfoBatch, Qin et al. 2024, arXiv:2303.04947, section 3).

    Images below the mean loss are skipped with probability r; those of them that remain have the weight 1 / (1 - r). Epochs that
    begin after the fraction delta of the steps skip none.

    An image's loss is that of its last visit, so that the first epoch has all images. The budget is in steps: skipping images
    leads to more epochs, not to less time.
    """
    if not 0 <= r < 1:
        raise InputError(f"train.sampler: infobatch: r={r}: must be in [0, 1).")
    return InfoBatch(n, batch_size, seed, r, delta * steps)


class InfoBatch:
    """The sampler; it composes each epoch from the losses observed so far.

    Memory: 4 bytes an image for the losses, and 12 bytes for each image that is left of the epoch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, r: float, until: float) -> None:
        self.batch_size, self.seed, self.r, self.until = batch_size, seed, r, until
        self.losses = torch.zeros(n)
        self.epoch, self.step = 0, 0  # the next epoch, and the step whose batch begins with the first of `order`
        self.order, self.weights = torch.empty(0, dtype=torch.int64), torch.empty(0)
        self.observed: list[tuple[Tensor, Tensor]] = []  # (indices, losses) that are not in `losses` yet

    def __call__(self, step: int) -> BatchIndices:
        """The images of a step, which must be the last one again or the next."""
        seen = (step - self.step) * self.batch_size
        assert 0 <= seen <= self.batch_size, f"step {step} after step {self.step}"
        self.order, self.weights, self.step = self.order[seen:], self.weights[seen:], step
        while len(self.order) < self.batch_size:
            self._begin_epoch()
        return BatchIndices(self.order[: self.batch_size], self.weights[: self.batch_size])

    def _begin_epoch(self) -> None:
        self._collect()
        generator = torch.Generator().manual_seed(derive(self.seed, self.epoch))
        # In double precision the mean of equal losses is exactly that loss, so that at least one image is always kept.
        learned = (self.losses < self.losses.double().mean()) & (self.step < self.until)
        order = torch.randperm(len(self.losses), generator=generator)
        skipped = learned & (torch.rand(len(self.losses), generator=generator) < self.r)
        order = order[~skipped[order]]
        self.order = torch.cat([self.order, order])
        self.weights = torch.cat([self.weights, torch.where(learned[order], 1 / (1 - self.r), 1.0)])
        self.epoch += 1

    def observe(self, indices: Int64[Tensor, " b"], losses: Float[Tensor, " b"]) -> None:
        self.observed.append((indices, losses))  # on their device until they are needed: fetching them waits for the device

    def _collect(self) -> None:
        """Fetch the observed losses from their device, all at once."""
        if self.observed:
            lengths = [len(indices) for indices, _ in self.observed]
            losses = torch.cat([losses for _, losses in self.observed]).float().cpu().split(lengths)
            for (indices, _), of_batch in zip(self.observed, losses, strict=True):
                self.losses[indices] = of_batch
        self.observed = []

    def state_dict(self) -> dict[str, Any]:
        self._collect()
        return {key: getattr(self, key) for key in ("losses", "epoch", "step", "order", "weights")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, observed=[])
