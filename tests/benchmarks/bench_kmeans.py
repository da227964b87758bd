"""How fast k-means is, beside Faiss used directly, in one run; and how long the methods that build on it take.

    python tests/benchmarks/bench_kmeans.py [--rows 50000] [--clusters 432 4320] [--threads 2] [--repeat 3]

Both get the same rows and as many iterations; Faiss may use all rows too, and its time includes the assignment of the rows to the
final centroids, as ours does. Wanted: at least as fast, with equal or better inertia (the mean squared distance to the centroid).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from dsopt.registry import SELECTORS
from dsopt.selection.kernels.clusters import cluster

SIZE, ITERATIONS, BUDGET = 216, 20, 4320


def rectified(rows: int) -> torch.Tensor:
    """Like an autoencoder's embeddings: grouped, and half of the values zero."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(200, SIZE, generator=generator)
    groups = torch.randint(200, (rows,), generator=generator)
    return (centres[groups] + torch.randn(rows, SIZE, generator=generator)).relu()


def ours(rows: torch.Tensor, k: int, seed: int) -> float:
    return float(cluster(rows, k, torch.Generator().manual_seed(seed), ITERATIONS).squared_distances.mean())


def theirs(rows: torch.Tensor, k: int, seed: int) -> float:
    kmeans = faiss.Kmeans(rows.shape[1], k, niter=ITERATIONS, seed=seed, min_points_per_centroid=1, max_points_per_centroid=1 << 30)
    kmeans.train(rows.numpy())
    return float(kmeans.index.search(rows.numpy(), 1)[0].mean())


def timed(function: Callable[..., float], *arguments: object) -> tuple[float, float]:
    began = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - began, result


def against_faiss(rows: torch.Tensor, k: int, repeat: int) -> None:
    pairs = []
    for seed in range(repeat):
        turns = [ours, theirs] if seed % 2 == 0 else [theirs, ours]
        found = {turn: timed(turn, rows, k, seed) for turn in turns}
        pairs.append((*found[ours], *found[theirs]))
    mine, inertia, faiss_s, faiss_inertia = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(pair[2] / pair[0] for pair in pairs)
    print(
        f"k={k}, {ITERATIONS} iterations: {mine:.2f} s, inertia {inertia:.3f}; Faiss {faiss_s:.2f} s, {faiss_inertia:.3f}: "
        f"{ratio:.2f}x as fast, inertia {inertia / faiss_inertia:.4f} of its",
        flush=True,
    )


def methods(rows: torch.Tensor) -> None:
    labels, scores = torch.arange(len(rows)) % 10, torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(1))
    for name in ("kmeans", "typiclust", "zcore", "semantic_dedup", "moderate", "d2"):
        extra = [scores] if SELECTORS.traits(name).scores else []
        began = time.perf_counter()
        SELECTORS.build(name)(rows, labels, min(BUDGET, len(rows)), torch.Generator().manual_seed(0), *extra)
        print(f"{name}, {BUDGET} of {len(rows):,}: {time.perf_counter() - began:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--clusters", type=int, nargs="*", default=[432, 4320])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    rows = rectified(arguments.rows)
    print(f"{len(rows):,} x {SIZE}, {arguments.threads} threads, Faiss {faiss.__version__}, torch {torch.__version__}", flush=True)
    for k in arguments.clusters:
        against_faiss(rows, k, arguments.repeat)
    methods(rows)


if __name__ == "__main__":
    main()
