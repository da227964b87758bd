"""Training on a subset while the full set is still on its way, and on what has come of it as it comes."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dsopt.data.background import BackgroundLoader
from dsopt.seeds import derive
from dsopt.training.samplers.contract import Draw, Sampler
from dsopt.training.samplers.shuffle import shuffle

LOOK = 10  # steps between two looks at what has come
GROWTHS = 20  # at most; each begins a new shuffle, and for millions of images that takes a while


class Overlap:
    """A sampler of an `BackgroundLoader` set: shuffles the subset together with what has come, and in the end the full set alone.

    What was there in which step is its state: it is saved with the checkpoint, and a resumed run waits until it is there again.
    Workers (an initialised `torch.distributed`) go by what all of them have.
    """

    def __init__(self, arriving: BackgroundLoader, batch_size: int, seed: int) -> None:
        self.arriving, self.batch_size, self.seed = arriving, batch_size, seed
        self.device = arriving.labels.device
        self.growths = [(0, 0)]  # (from this step, of so many rows of the full set)
        self.looked = -1
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)

    def __call__(self, step: int) -> Draw:
        if step % LOOK == 0 and step > self.looked and self.growths[-1][1] < self.arriving.n:
            self._look(step)
        since, rows = next(growth for growth in reversed(self.growths) if growth[0] <= step)
        self.arriving.wait(rows)
        pool, order = self._shuffled(rows)
        return Draw(pool[order(step - since).indices])

    def _look(self, step: int) -> None:
        self.looked = step
        there = self.arriving.rows()
        if dist.is_initialized() and dist.get_world_size() > 1:
            fewest = torch.tensor([there], device=self.device)
            dist.all_reduce(fewest, dist.ReduceOp.MIN)
            there = int(fewest)
        new = there - self.growths[-1][1]
        if new and (there == self.arriving.n or new * GROWTHS >= self.arriving.n):
            self.growths.append((step, there))

    def _shuffle(self, rows: int) -> tuple[Tensor, Sampler]:
        """The rows of `BackgroundLoader` to draw from when so many of the full set are there, and their order."""
        full = self.arriving.subset + torch.arange(rows)
        waiting = (self.arriving.row_of >= rows).nonzero().squeeze(1)  # those of the subset that have not come in the full set
        pool = full if rows == self.arriving.n else torch.cat([waiting, full])
        return pool, shuffle(len(pool), self.batch_size, derive(self.seed, rows))

    def state_dict(self) -> dict[str, Any]:
        return {"growths": list(self.growths), "looked": self.looked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.growths, self.looked = [(step, rows) for step, rows in state["growths"]], state["looked"]
