"""Training on a subset while the full set is still loading, and on the loaded part of it as it grows."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Int
from torch import Tensor

from dsopt.data.background import BackgroundLoader
from dsopt.seeds import derive
from dsopt.training.easiest import easiest, few_pixels
from dsopt.training.samplers.contract import BatchIndices, Sampler
from dsopt.training.samplers.shuffle import shuffle

CHECK_EVERY = 4  # steps between two checks of how many rows have arrived
MAX_GROWTHS = 20  # each starts a new shuffle, which is slow for millions of images


class Overlap:
    """A sampler of a set that a `BackgroundLoader` reads: the subset and the rows that have arrived, and finally the full set.

    Its state is which rows had arrived at which step. It is saved with the checkpoint; a resumed run waits until these rows have
    arrived again. Workers (an initialized `torch.distributed`) use the rows that all of them have.

    Args:
        held_out: which rows of the full set are never drawn, those for validation; None: all are. The subset has none of these.
        meet: called once the rows of the first batch have arrived, as `Worker.meet`.
        share: of each class's rows that arrived together, the easiest ones (`dsopt.training.easiest`), at least one, are drawn
            until all rows have arrived; the subset always is.
    """

    def __init__(
        self,
        arriving: BackgroundLoader,
        batch_size: int,
        seed: int,
        held_out: Bool[Tensor, " n"] | None = None,
        meet: Callable[[], None] = lambda: None,
        share: float = 1.0,
    ) -> None:
        self.arriving, self.batch_size, self.seed, self.held_out, self.share = arriving, batch_size, seed, held_out, share
        self.meet, self.met = meet, False
        self.device = arriving.labels.device
        self.growths = [(0, 0)]  # (first step, rows of the full set in use from then on)
        self.looked = -1
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)
        self.chosen: list[Tensor] = []  # the easy rows of each growth, in order: a state, as rounding decides

    def __call__(self, step: int) -> BatchIndices:
        if step % CHECK_EVERY == 0 and step > self.looked and self.growths[-1][1] < self.arriving.n:
            self._check(step)
        since, rows = next(growth for growth in reversed(self.growths) if growth[0] <= step)
        self.arriving.wait(rows)
        if not self.met:
            self.meet()
            self.met = True
        pool, order = self._shuffled(rows)
        return BatchIndices(pool[order(step - since).indices])

    def _check(self, step: int) -> None:
        """Take newly arrived rows into use, if they are enough."""
        self.looked = step
        arrived = self.arriving.rows()
        if dist.is_initialized() and dist.get_world_size() > 1:
            fewest = torch.tensor([arrived], device=self.device)
            dist.all_reduce(fewest, dist.ReduceOp.MIN)
            arrived = int(fewest)

        new = arrived - self.growths[-1][1]
        if new and (arrived == self.arriving.n or new * MAX_GROWTHS >= self.arriving.n):
            self.growths.append((step, arrived))

    def _shuffle(self, rows: int) -> tuple[Tensor, Sampler]:
        """The rows of `BackgroundLoader` to draw from while `rows` of the full set are in use, and a sampler of these."""
        if self.share < 1 and rows < self.arriving.n:
            ends = [end for _, end in self.growths if end <= rows]
            for begin, end in list(pairwise(ends))[len(self.chosen) :]:
                self.chosen.append(self._choose(begin, end))
            there = torch.cat([torch.arange(0), *self.chosen[: len(ends) - 1]])
        else:
            there = self._drawn(0, rows)
        full = self.arriving.subset + there
        # Images of the subset that have not arrived as part of the full set; the others would be drawn twice.
        only_in_subset = (self.arriving.row_of >= rows).nonzero().squeeze(1)
        pool = full if rows == self.arriving.n else torch.cat([only_in_subset, full])
        return pool, shuffle(len(pool), self.batch_size, derive(self.seed, rows))

    def _drawn(self, begin: int, end: int) -> Int[Tensor, " m"]:
        """The rows of the full set that are not held out."""
        there = torch.arange(begin, end)
        return there if self.held_out is None else there[~self.held_out[begin:end]]

    def _choose(self, begin: int, end: int) -> Int[Tensor, " k"]:
        """Which of these rows of the full set are easy, or in the subset; for all workers the same, however they round."""
        there = self._drawn(begin, end)
        if not len(there):
            return there
        here, first = slice(self.arriving.subset + begin, self.arriving.subset + end), there - begin
        pixels, labels = few_pixels(self.arriving.images[here]).to(self.device), self.arriving.labels[here]
        chosen = easiest(pixels[first.to(self.device)], labels[first.to(self.device)], self.share)
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.broadcast(chosen, 0)
        return there[chosen.cpu() | torch.isin(there, self.arriving.row_of)]

    def state_dict(self) -> dict[str, Any]:
        return {"growths": list(self.growths), "looked": self.looked, "chosen": list(self.chosen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.growths, self.looked = [(step, rows) for step, rows in state["growths"]], state["looked"]
        self.chosen = list(state["chosen"])
