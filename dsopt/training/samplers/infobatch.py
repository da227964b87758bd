"""Fewer of the images that are learnt already, each counting for those left out."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.errors import InputError
from dsopt.seeds import derive
from dsopt.training.samplers.contract import Draw, Learns, sampler


@sampler(steps=True)
def infobatch(n: int, batch_size: int, seed: int, steps: int, *, r: float = 0.5, delta: float = 0.875) -> Learns:
    """Leave out images below the mean loss with probability r, and give those of them that stay the weight 1 / (1 - r); none in
    epochs that begin after the share delta of the steps (InfoBatch, Qin et al. 2024, arXiv:2303.04947, section 3).

    An image's loss is that of its last visit, so nothing is left out of the first epoch. The budget is in steps: leaving out
    images buys more epochs, not less time.
    """
    if not 0 <= r < 1:
        raise InputError(f"train.sampler: infobatch: r={r}: must be in [0, 1).")
    return InfoBatch(n, batch_size, seed, r, delta * steps)


class InfoBatch:
    """The sampler: epoch by epoch, by the losses that it was told.

    Memory: 4 bytes an image for the losses, and 12 for each that is left of the epoch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, r: float, until: float) -> None:
        self.batch_size, self.seed, self.r, self.until = batch_size, seed, r, until
        self.losses = torch.zeros(n)
        self.epoch, self.step = 0, 0  # the next epoch, and the step that begins with the first of `order`
        self.order, self.weights = torch.empty(0, dtype=torch.int64), torch.empty(0)
        self.told: list[tuple[Tensor, Tensor]] = []

    def __call__(self, step: int) -> Draw:
        """The images of this step: the last one again, or the next."""
        seen = (step - self.step) * self.batch_size
        assert 0 <= seen <= self.batch_size, f"step {step} after step {self.step}"
        self.order, self.weights, self.step = self.order[seen:], self.weights[seen:], step
        while len(self.order) < self.batch_size:
            self._begin_epoch()
        return Draw(self.order[: self.batch_size], self.weights[: self.batch_size])

    def _begin_epoch(self) -> None:
        self._read()
        generator = torch.Generator().manual_seed(derive(self.seed, self.epoch))
        # In double precision the mean of equal losses is exactly each of them, so some image is always at or above it.
        learnt = (self.losses < self.losses.double().mean()) & (self.step < self.until)
        order = torch.randperm(len(self.losses), generator=generator)
        left_out = learnt & (torch.rand(len(self.losses), generator=generator) < self.r)
        order = order[~left_out[order]]
        self.order = torch.cat([self.order, order])
        self.weights = torch.cat([self.weights, torch.where(learnt[order], 1 / (1 - self.r), 1.0)])
        self.epoch += 1

    def observe(self, indices: Int64[Tensor, " b"], losses: Float[Tensor, " b"]) -> None:
        self.told.append((indices, losses))  # left on their device until they are needed: to fetch them, one has to wait for it

    def _read(self) -> None:
        if self.told:
            lengths = [len(indices) for indices, _ in self.told]
            losses = torch.cat([losses for _, losses in self.told]).float().cpu().split(lengths)
            for (indices, _), these in zip(self.told, losses, strict=True):
                self.losses[indices] = these
        self.told = []

    def state_dict(self) -> dict[str, Any]:
        self._read()
        return {key: getattr(self, key) for key in ("losses", "epoch", "step", "order", "weights")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, told=[])
