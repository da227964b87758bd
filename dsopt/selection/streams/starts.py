"""First centroids for k-means of rows that no process holds."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.kernels.distances import nearest_centroids
from dsopt.selection.streams.rows import Blocks, Rows, take

SAMPLE = 32  # rows per cluster that the first centroids are computed from ...
MIN_SAMPLE = 1 << 15  # ... but at least this many,
SAMPLE_VALUES = 1 << 27  # and at most this many numbers: 512 MB
ROUNDS = 5  # in which rows are drawn ...
DRAWN = 2.5  # ... and how many in all, for every centroid

Start = Callable[[Rows, int, torch.Generator], Float[Tensor, "k d"]]


def of_sample(rows: Rows, k: int, generator: torch.Generator, *, iterations: int = 25) -> Float[Tensor, "k d"]:
    """Lloyd's iterations on a random sample, which one process holds; it may lack groups of less than n / (`SAMPLE` k) rows."""
    size = min(len(rows), max(min(max(SAMPLE * k, MIN_SAMPLE), SAMPLE_VALUES // rows.size), k))
    sample = take(rows, torch.randperm(len(rows), generator=generator)[:size].sort().values)
    return cluster(sample, k, generator, iterations).centroids


def parallel(rows: Rows, k: int, generator: torch.Generator, *, iterations: int = 25) -> Float[Tensor, "k d"]:
    """k-means|| (Bahmani et al. 2012, arXiv:1203.6402, algorithm 2): few rows that are far from all others are not missed.

    In `ROUNDS` rounds of two passes, rows are drawn by probabilities proportional to their squared distances from those before.
    These, each as often as it is the nearest one of a row, are then clustered in memory. Deviation: every round draws exactly
    k / 2 rows; in the paper so many are expected.
    """
    first = take(rows, torch.randint(len(rows), (1,), generator=generator))
    candidates, nearest = drawn(rows, first, min(round(DRAWN * k), len(rows) - 1), generator)
    if len(candidates) <= k:
        return candidates
    weights = nearest.bincount(minlength=len(candidates)).float()
    return cluster(candidates, k, generator, iterations, weights).centroids


def continued(
    rows: Rows, k: int, generator: torch.Generator, *, first: Float[Tensor, "f d"], iterations: int = 0
) -> Float[Tensor, "k d"]:
    """Earlier centroids, or the first k of them, and further ones that are drawn where rows are far from these."""
    return first[:k] if len(first) >= k else drawn(rows, first, k - len(first), generator)[0]


def drawn(
    rows: Rows, first: Float[Tensor, "f d"], count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "c d"], Int[Tensor, " n"]]:
    """Some first points and `count` rows drawn after them, farther ones with higher probability; and every row's nearest of all."""
    center, near, nearest = first.mean(0), torch.full((len(rows),), torch.inf), torch.zeros(len(rows), dtype=torch.int64)
    candidates, new = first[:0], first
    for size in [*(len(some) for some in torch.arange(count).tensor_split(ROUNDS) if len(some)), 0]:
        work = partial(_nearer, new=new - center, center=center, before=len(candidates))
        for places, (closer, which) in rows.each(work, near, nearest):
            near[places], nearest[places] = closer, which
        candidates = torch.cat([candidates, new])
        if size:
            # Exponential race: the rows with the largest weight / Exp(1) are a weighted sample without replacement.
            race = near / -torch.rand(len(rows), generator=generator).log()
            new = take(rows, race.topk(size).indices.sort().values)
    return candidates, nearest


def _nearer(blocks: Blocks, new: Tensor, center: Tensor, before: int) -> tuple[Tensor, Tensor]:
    """Every row's squared distance to its nearest point, and which that is, after further points."""
    found = []
    for x, near, nearest in blocks:
        x, points = x - center.to(x.device), new.to(x.device)
        which = nearest_centroids(x, points)
        squared = (x - points[which]).square_().sum(1, dtype=torch.float64).float()
        found.append((torch.minimum(squared, near), torch.where(squared < near, before + which, nearest)))
    return torch.cat([near for near, _ in found]), torch.cat([nearest for _, nearest in found])
