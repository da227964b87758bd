"""What a choice takes, told before it starts: arithmetic of every method, and how fast this process is, measured for a moment."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch

from dsopt.registry import SELECTORS
from dsopt.selection.contract import passes_of, stream_of
from dsopt.selection.kernels.neighbours import EXACT_ROWS, LISTS, PROBES

NUMBER = 4  # bytes
KEYS = 64  # bytes a row for ids and labels, as read, sorted and compared
PROCESS_BYTES = 1 << 30  # of Python, torch and the blocks that are read
GATHERED = 1 << 17  # rows that `streams.groups` reads together
UNEVEN = 4  # times more rows are in the clusters of a row than if all were equally large: 2 to 8, as measured
READ = 5e8  # bytes a second that one process reads from a local disk and decodes, where nothing was measured


class Size(NamedTuple):
    """What is chosen from: rows of `size` numbers, and how many of them; `held` in memory, or seen in passes.

    Args:
        classes: that are chosen from one by one, all together of so many rows.
    """

    rows: int
    size: int
    budget: int
    held: bool = True
    classes: int = 1


class Cost(NamedTuple):
    """About what a method takes, added up over all processes.

    Args:
        products: multiplications in matrix products.
        touched: numbers that go through a loop over memory.
        passes: how often all embeddings are read.
        memory: bytes of one process, beside ids, labels and the embeddings that are held.
    """

    products: float = 0
    touched: float = 0
    passes: float = 1
    memory: float = 0

    def plus(self, other: "Cost") -> "Cost":
        """Both, one after the other."""
        memory = max(self.memory, other.memory)
        return Cost(self.products + other.products, self.touched + other.touched, self.passes + other.passes, memory)


def light(at: Size) -> Cost:
    """Numbers and random draws of every row, sorted."""
    return Cost(touched=100 * at.rows, passes=0, memory=64 * at.rows)


def lloyd(at: Size, k: int, *, parallel: bool = False) -> Cost:
    """k-means; half of the iterations' products are saved by centroids that have come to rest.

    Args:
        parallel: from the first centroids of `starts.parallel`.
    """
    n, d = at.rows, at.size
    if at.held:
        sample = min(n, max(64 * k, 1 << 16))
        return Cost(products=(14 * sample + (n if n > sample else 0)) * k * d, passes=1, memory=3 * NUMBER * d * sample)
    sample = min(n, 2.5 * k if parallel else max(32 * k, 1 << 15), (1 << 27) // d)
    start = Cost(2.5 * n * k * d, 12 * n * d, 12, 16 * n) if parallel else Cost(passes=1)
    memory = 4 * NUMBER * d * sample + 16 * n + 24 * k * d
    return start.plus(Cost(products=(14 * sample + 6 * n) * k * d, touched=8 * n * d, passes=8, memory=memory))


def neighbours(at: Size, count: int) -> Cost:
    """The nearest neighbours of every row: exact up to 50,000 rows, then among 64 of 4 sqrt(n) clusters. In passes, in regions."""
    n, d = at.rows, at.size
    among = n if at.held else min(n, GATHERED)
    regions = 1 if among == n else math.ceil(4 * n / GATHERED)
    compared, clustered, memory = among, 0.0, 24 * n * count + (1 << 28)
    memory += 0 if at.held else 3 * NUMBER * d * among
    if among > EXACT_ROWS:
        lists = LISTS * math.sqrt(among)
        compared = min(UNEVEN * PROBES * among / lists, among)
        clustered = 10 * lists * regions * among  # k-means, and the nearest clusters of every row
        memory += 3 * 8 * PROBES * among
    found = Cost((n * compared + clustered) * d, 2 * n * compared, regions, memory)
    return found if at.held else found.plus(lloyd(at, regions)).plus(Cost(passes=1))


def one_by_one(at: Size) -> Cost:
    """Greedy choices by distances in float64, which take twice as long, of all rows from each chosen one."""
    pools = math.ceil(at.budget * at.size / (1 << 23))
    passes = 1 if at.held else 4 + 2 * pools
    return Cost(2 * at.rows * at.budget * at.size, 6 * at.rows * at.size, passes, 24 * at.rows + (1 << 28))


def gathered(at: Size) -> Cost:
    """Clusters that are read, some at a time, each time from all parts."""
    return Cost(passes=0 if at.held else math.ceil(at.rows / GATHERED), memory=3 * NUMBER * at.size * min(at.rows, 2 * GATHERED))


def cost_of(name: str, options: Mapping[str, Any], at: Size) -> Cost:
    """What a method takes with these options; what reading and holding takes is not in its memory."""
    traits = SELECTORS.traits(name)
    return traits.cost(at, **SELECTORS.options(name, options)) if traits.cost else light(at)


class Way(NamedTuple):
    """How a choice is made, what it takes in all, and the bytes of the process that makes it."""

    how: Literal["in memory", "in passes over the parts", "in two rounds"]
    at: Size
    cost: Cost
    memory: int


def way(name: str, options: Mapping[str, Any], at: Size, *, pca: int | None = None, shard_rows: int, rounds: int = 1) -> Way:
    """How `choose` makes this choice. Classes that are chosen from one by one (`per_class`) take less."""
    traits = SELECTORS.traits(name)
    streams = bool(stream_of(name, options)) and not pca
    in_passes = rounds == 1 and not pca and bool(passes_of(name, options))
    if not traits.embeddings or (at.rows <= shard_rows and not streams):
        cost = cost_of(name, options, at)
        return Way("in memory", at, cost, _memory(at, cost, at.rows if traits.embeddings else 0))
    if streams or in_passes:
        at = at._replace(held=False)
        cost = cost_of(name, options, at)
        return Way("in passes over the parts", at, cost, _memory(at, cost, 0))
    shards, offered = math.ceil(at.rows / shard_rows), min(2 * at.budget, at.rows)
    first = cost_of(name, options, Size(shard_rows, at.size, math.ceil(offered / shards)))
    second = cost_of(name, options, Size(offered, at.size, at.budget))._replace(passes=0)
    cost = Cost(*(shards * one for one in first))._replace(passes=1, memory=first.memory).plus(second)
    return Way("in two rounds", at, cost, _memory(at, cost, max(shard_rows, offered)))


def _memory(at: Size, cost: Cost, held: int) -> int:
    """Embeddings count three times: as read, in the order of ids, and what is computed of them."""
    return int(KEYS * at.rows + 3 * NUMBER * at.size * held + cost.memory + PROCESS_BYTES)


class Speed(NamedTuple):
    """Of this process: multiplications of matrix products, numbers through a loop, and bytes read, a second."""

    products: float
    touched: float
    read: float = READ

    def seconds(self, cost: Cost, at: Size, workers: int = 1) -> float:
        """How long a choice takes about, where its work divides among workers, as it does in passes."""
        read = cost.passes * NUMBER * at.rows * at.size / self.read
        return (cost.products / self.products + cost.touched / self.touched + read) / (1 if at.held else workers)


def measured(device: str = "cpu") -> Speed:
    """A calibration of some 50 ms."""
    x, y = torch.rand(1024, 384, device=device), torch.rand(384, 1024, device=device)
    numbers = torch.rand(1 << 20, device=device)
    return Speed(x.numel() * y.shape[1] / _took(lambda: x @ y), numbers.numel() / _took(lambda: (numbers - 1).abs_().sum()))


def _took(work: Callable[[], torch.Tensor]) -> float:
    """Seconds of the fastest of a few calls: others may use the machine, too."""
    fastest = math.inf
    for _ in range(4):
        began = time.perf_counter()
        work().flatten()[0].item()  # waits for a GPU
        fastest = min(fastest, time.perf_counter() - began)
    return max(fastest, 1e-9)
