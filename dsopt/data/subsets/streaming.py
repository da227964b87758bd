"""A subset streamed from the user's own shards: only the chosen bytes, shuffled, shared out, resumable in mid-epoch."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.distributed as dist
from jaxtyping import Int64
from torch.utils.data import IterableDataset, get_worker_info

from dsopt.data.subsets.originals import MEMORY, MOST, Original, places, read_originals, sizes
from dsopt.data.subsets.subset import Label, Transform, labels_of, listed, opened, soft_labels_of
from dsopt.errors import InputError
from dsopt.storage import ORIGIN, Table

BLOCK_ROWS = 64  # chosen rows of a Parquet file that stay together: single rows cannot be read, only row groups
LISTED = 256  # rows looked up at once

State = dict[str, int | bool]


class StreamedSubset(IterableDataset):
    """The original pictures of a finished subset as an iterable torch data set that reads only the chosen bytes, ahead of use.

    Originals are read from the folders, shards and Parquet files that were ingested; images without one from the subset. Items
    are (image, label) as of `load_subset`.

    An epoch is one order of all images, each given once, over all ranks and workers. Batch by batch it goes round the ranks, and
    the batches of a rank go round the workers of its DataLoader, which gives them back in this order. So what all ranks have
    consumed is always a first part of the order, and any number of ranks and workers can resume behind it.

    Args:
        shuffle: in another order every epoch (see `set_epoch`); rows of Parquet files in blocks.
        rank, world: this process among those that share an epoch; by default those of torch.distributed, without it one alone.
        transform: from an upright PIL image, RGB or gray.
        batch_size: that of the DataLoader; it makes an epoch resumable at any batch (see `state_dict`).
        drop_last: leave out the end of an epoch that gives not every rank a whole batch.
        memory: about how many bytes of files a process holds at once.

    Attributes:
        classes: the names of the labels, if they are known.
        epoch: the epoch that an iteration gives, see `set_epoch`.

    Raises:
        InputError: no finished subset there. On iteration: an original has changed since it was ingested, or is gone.
    """

    classes: list[str] | None

    def __init__(
        self,
        uri: str,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        transform: Transform | None = None,
        batch_size: int = 1,
        drop_last: bool = False,
        memory: int = MEMORY,
    ) -> None:
        if (rank is None) != (world is None) or (rank is not None and world is not None and not 0 <= rank < world):
            raise InputError(f"stream_subset: rank={rank}, world={world}; expected 0 <= rank < world, or neither.")
        if batch_size < 1:
            raise InputError(f"stream_subset: batch_size={batch_size}; expected at least 1.")
        table = Table(uri)
        rows = listed(table, stored=False)
        self._rows = rows.select(["key", *ORIGIN.names]).combine_chunks()
        self._labels, self._soft = labels_of(rows), soft_labels_of(rows)
        self.classes, self._channels = table.manifest.get("classes"), table.manifest.get("channels", 3)
        self.shuffle, self.seed, self.transform, self.memory = shuffle, seed, transform, memory
        self.batch_size, self.drop_last, self._rank, self._world = batch_size, drop_last, rank, world
        # Shared with the workers of a DataLoader, which may outlive an epoch: the epoch, the images consumed before the iteration,
        # and whether workers read it.
        self._shared = torch.zeros(3, dtype=torch.int64).share_memory_()
        self._given = 0  # images that this process has given out since

    @property
    def epoch(self) -> int:
        return int(self._shared[0])

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, which has an order of its own; the one that a state was loaded for goes on where it was."""
        if epoch != self.epoch:
            self._begin(epoch, 0)

    def state_dict(self, batches: int | None = None) -> State:
        """Where this epoch is, the same on all ranks; for `load_state_dict` with any number of ranks and workers.

        Args:
            batches: how many this rank has consumed since the iteration began; needed with workers of a DataLoader, which read
                ahead. Without workers they are counted here.

        Raises:
            InputError: it cannot be known, or is in the middle of a batch of several ranks.
        """
        _, world = self._place()
        if batches is None and self._shared[2]:
            raise InputError("stream_subset: workers of a DataLoader read ahead; give state_dict(batches=<consumed>).")
        given = self._given if batches is None else batches * self.batch_size
        if world > 1 and given % self.batch_size and given < len(self):
            raise InputError(f"stream_subset: {given} images are no whole number of batches of {self.batch_size}.")
        consumed = min(int(self._shared[1]) + given * world, len(self._rows))
        return {"epoch": self.epoch, "consumed": consumed, **self._kept()}

    def load_state_dict(self, state: State) -> None:
        """Resume where a state was taken. Raises InputError if it is of another subset, seed or order."""
        kept = {key: state.get(key) for key in self._kept()}
        if kept != self._kept():
            raise InputError(f"stream_subset: the state is of {kept}, not of {self._kept()}.")
        self._begin(state["epoch"], state["consumed"])

    def __len__(self) -> int:
        """The images that this rank gets from here to the end of the epoch."""
        return sum(map(len, self._steps()))

    def __iter__(self) -> Iterator[tuple[Any, Label]]:
        worker, steps = get_worker_info(), self._steps()
        if worker:
            self._shared[2] = 1
            steps = islice(steps, worker.id, None, worker.num_workers)
        self._given = 0
        ahead: deque[tuple[Original, int]] = deque()
        for data in read_originals(self._wanted(steps, ahead), self.memory):
            original, index = ahead.popleft()
            self._given += 1
            label = int(self._labels[index]) if self._soft is None else self._soft[index]
            yield opened(data, original.key, self.transform, self._channels), label

    def __getstate__(self) -> dict[str, Any]:
        rank, world = self._place()  # a spawned worker has no process group to ask
        return self.__dict__ | {"_rank": rank, "_world": world}

    def order(self) -> Int64[np.ndarray, " n"]:
        """The rows of the subset in the order of this epoch."""
        n = len(self._rows)
        if not self.shuffle:
            return np.arange(n)
        random, blocks = np.random.default_rng([self.seed, self.epoch]), _blocks(self._rows)
        if blocks is None:
            return random.permutation(n)
        order = np.argsort(random.permutation(blocks[-1] + 1)[blocks], kind="stable")
        size = max(BLOCK_ROWS, min(MOST, MEMORY * n // sum(sizes(self._rows).to_pylist())))
        for start in range(0, n, size):  # so many are in memory at once, so their order costs nothing
            random.shuffle(order[start : start + size])
        return order

    def _wanted(self, steps: Iterator[range], ahead: deque[tuple[Original, int]]) -> Iterator[Original]:
        """The originals of steps, each noted in `ahead` with its row."""
        order, positions = self.order(), (position for step in steps for position in step)
        while some := list(islice(positions, LISTED)):
            indices = order[some]
            for original, index in zip(places(self._rows.take(indices)), indices.tolist(), strict=True):
                ahead.append((original, index))
                yield original

    def _steps(self) -> Iterator[range]:
        """For each batch of all ranks the positions, in the order of the epoch, that are this rank's; the last may be shorter."""
        rank, world = self._place()
        start, stop, size = int(self._shared[1]), len(self._rows), world * self.batch_size
        if self.drop_last:
            stop -= (stop - start) % size
        for at in range(start, stop, size):
            some = min(size, stop - at)
            yield range(at + some * rank // world, at + some * (rank + 1) // world)

    def _place(self) -> tuple[int, int]:
        """Rank and number of ranks."""
        if self._rank is not None and self._world is not None:
            return self._rank, self._world
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
        return 0, 1

    def _begin(self, epoch: int, consumed: int) -> None:
        self._shared[:2] = torch.tensor([epoch, consumed])
        self._given = 0

    def _kept(self) -> State:
        """What must be the same for a state to be of use."""
        return {"seed": self.seed, "shuffle": self.shuffle, "images": len(self._rows)}


def _blocks(rows: pa.Table) -> Int64[np.ndarray, " n"] | None:
    """The block of each row that is shuffled as one: a few rows of a Parquet file, or a single file or range; None if all are."""
    in_parquet = rows["row"].is_valid().to_numpy()
    if not in_parquet.any():
        return None
    begins = ~in_parquet
    begins[0] = True
    begins[1:] |= ~in_parquet[:-1] | pc.not_equal(rows["uri"].slice(1), rows["uri"].slice(0, len(rows) - 1)).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    firsts = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    return np.cumsum(begins | ((np.arange(len(rows)) - firsts) % BLOCK_ROWS == 0)) - 1


stream_subset = StreamedSubset  # by this name it is called as a function, beside `load_subset`
