"""The audit's checks beside cleanlab's and imagededup's, on the same images and probabilities: what each finds, and in which time.

    python tests/benchmarks/bench_audit.py near 10000       # images of Fashion-MNIST, with 300 planted near duplicates
    python tests/benchmarks/bench_audit.py labels 60000     # planted label errors, judged by a cross-fitted probe of the pixels
    python tests/benchmarks/bench_audit.py scale 1000000    # hashes and embeddings of a number of rows, made up

Seconds are of the processor (all threads), so that a busy machine does not count. cleanlab and imagededup must be importable.
"""

import io
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dsopt.audit import hashes
from dsopt.audit.close import median_nearest, pairs_closer
from dsopt.audit.contract import Seen
from dsopt.audit.duplicates import embedding_duplicates, near_duplicates
from dsopt.audit.labels import label_errors
from dsopt.audit.looks import looks
from dsopt.audit.outliers import outliers
from dsopt.data.sets.mnist import FILES, read_idx_files
from dsopt.learners.probe import probe

FASHION = Path("/usr/share/datasets/fashion-mnist")
PLANTED = 100  # of each way to change an image


def used() -> float:
    """Seconds of the processor, of this process and those that it started."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def timed(name: str, work: Callable[[], Any]) -> Any:
    wall, before = time.monotonic(), used()
    found = work()
    print(f"{name:<44} {used() - before:8.1f} s of the processor {time.monotonic() - wall:8.1f} s", flush=True)
    return found


def told(name: str, pairs: Iterable[tuple[int, int]], n: int) -> None:
    """How many of the planted pairs are found, and how many others."""
    found = {(min(pair), max(pair)) for pair in pairs}
    ways = [{(i, n + i) for i in range(k * PLANTED, (k + 1) * PLANTED)} for k in range(3)]
    compressed, resized, darker = (len(found & way) for way in ways)
    others = len(found) - compressed - resized - darker
    print(f"{name:<44} compressed {compressed}, resized {resized}, darker {darker} of {PLANTED} each; {others} other pairs")


def changed(images: np.ndarray) -> np.ndarray:
    """The first images compressed to JPEG of quality 50, the next resized to 20 pixels and back, the next darker by a fifth."""

    def compressed(image: np.ndarray) -> np.ndarray:
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, "JPEG", quality=50)
        return np.asarray(Image.open(sink))

    def resized(image: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(image).resize((20, 20), 3).resize((28, 28), 3))

    ways = (compressed, resized, lambda image: (0.8 * image).astype(np.uint8))
    return np.stack([way(image) for k, way in enumerate(ways) for image in images[k * PLANTED : (k + 1) * PLANTED]])


def pairs_of(seen: Seen, found: Any) -> set[tuple[int, int]]:
    """Pairs of the image to keep and one to leave out."""
    pairs, kept = set(), -1
    for row, keep in zip(found.rows.tolist(), found.kept.tolist(), strict=True):
        kept = row if keep else kept
        pairs |= set() if keep else {(min(kept, row), max(kept, row))}
    return pairs


def near(n: int) -> None:
    arrays = read_idx_files(tuple(str(FASHION / f"{name}.gz") for name in FILES))
    images = arrays["train"][0][:n]
    images = np.concatenate([images, changed(images)])
    total = len(images)
    pixels = torch.from_numpy(images)[:, None]
    x = torch.from_numpy(images.reshape(total, -1)).float()
    content = np.stack([np.arange(total), np.zeros(total, np.int64)], 1)
    seen = Seen(torch.arange(total), torch.zeros(total, dtype=torch.bool), torch.zeros(total).long(), content, embeddings=x)
    seen.looks = timed("dsopt: looks at all images", lambda: looks(pixels))
    told("dsopt near_duplicates", pairs_of(seen, timed("dsopt near_duplicates", lambda: near_duplicates(seen))), n)
    found = timed("dsopt embedding_duplicates (pixels)", lambda: embedding_duplicates(seen))
    told("dsopt embedding_duplicates (pixels)", pairs_of(seen, found), n)
    ours = timed("dsopt outliers (pixels)", lambda: outliers(seen)).rows.tolist()
    _imagededup(images, n)
    _datalab(x.numpy(), n, ours)


def _imagededup(images: np.ndarray, n: int) -> None:
    from imagededup.methods import PHash  # pyright: ignore[reportMissingImports]

    hasher = PHash(verbose=False)

    def encode() -> dict[str, str]:
        return {str(i): hasher.encode_image(image_array=image) for i, image in enumerate(images)}

    encoded = timed("imagededup: PHash of all images", encode)
    for bits in (10, 4):
        search = partial(hasher.find_duplicates, encoding_map=encoded, max_distance_threshold=bits, num_dist_workers=0)
        found = timed(f"imagededup: pairs within {bits} bits", search)
        told(f"imagededup, {bits} bits", ((int(a), int(b)) for a, others in found.items() for b in others), n)


def _datalab(x: np.ndarray, n: int, ours: list[int]) -> None:
    from cleanlab import Datalab  # pyright: ignore[reportMissingImports]

    lab, kinds = Datalab(data={"i": list(range(len(x)))}, verbosity=0), {"near_duplicate": {}, "outlier": {}}
    timed("cleanlab: near_duplicate and outlier", lambda: lab.find_issues(features=x, issue_types=kinds))
    sets = lab.get_issues("near_duplicate")["near_duplicate_sets"]
    told("cleanlab near_duplicate (pixels)", ((i, int(j)) for i, those in enumerate(sets) for j in those), n)
    theirs = lab.get_issues("outlier")["is_outlier_issue"].to_numpy().nonzero()[0].tolist()
    print(f"outliers: dsopt {len(ours)}, cleanlab {len(theirs)}, both {len(set(ours) & set(theirs))}")


def labels(n: int) -> None:
    """Every twentieth label is changed to another class at random."""
    arrays = read_idx_files(tuple(str(FASHION / f"{name}.gz") for name in FILES))
    x = torch.tensor(arrays["train"][0][:n].reshape(n, -1)).float()
    true = torch.tensor(arrays["train"][1][:n].astype(np.int64))
    draw, margins = torch.Generator().manual_seed(0), torch.zeros(n)
    wrong = torch.rand(n, generator=draw) < 0.05
    given = torch.where(wrong, (true + torch.randint(1, 10, (n,), generator=draw)) % 10, true)

    def observe(batch: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor) -> None:
        own = logits.gather(1, labels[:, None]).squeeze(1)
        margins[batch] += own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)

    p = timed("probe of the pixels, 5 folds", lambda: probe(x, given, 10, 0, observe=observe)).logits.softmax(1)
    right = float((p.argmax(1) == given).float().mean())
    print(f"right for {100 * right:.1f} % of the given labels; {int(wrong.sum())} planted errors")
    seen = Seen(torch.arange(n), torch.zeros(n, dtype=torch.bool), given, scores={"probability": p, "aum": margins / 20})

    def said(name: str, rows: list[int]) -> None:
        hits = wrong[torch.tensor(rows)]
        print(f"{name:<44} {len(rows)} found, {int(hits.sum())} planted; of the first", end=" ")
        print(", ".join(f"{k:,}: {int(hits[:k].sum())}" for k in (100, 1000, 3000)))

    for rank in ("self_confidence", "normalised_margin", "aum"):
        found = timed(f"dsopt label_errors by {rank}", partial(label_errors, seen, rank=rank))
        said(f"dsopt by {rank}", found.rows.tolist())
    from cleanlab.filter import find_label_issues  # pyright: ignore[reportMissingImports]

    for by in ("confident_learning", "prune_by_noise_rate"):
        options = {"filter_by": by, "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
        found = timed(f"cleanlab {by}", partial(find_label_issues, given.numpy(), p.numpy(), **options))
        said(f"cleanlab {by}", found.tolist())


def scale(n: int) -> None:
    """Made-up hashes of which a thousandth is near to another, and embeddings of 216 numbers of which a thousandth is."""
    draw = np.random.default_rng(0)
    known = draw.integers(0, 2**64, n, np.uint64)
    known[: n // 1000] = known[-(n // 1000) :] ^ np.uint64(0b101)
    count = timed(f"pairs of {n:,} hashes within 4 bits", lambda: sum(len(a) for a, _, _ in hashes.pairs_within(known, 4)))
    print(f"{count} pairs")
    rows = min(n, 70_000)
    x = torch.randn(rows, 24) @ torch.randn(24, 216)
    x[: rows // 1000] = x[-(rows // 1000) :] + 0.01
    radius = 0.13 * timed(f"median distance to the nearest, of {rows:,} rows", lambda: median_nearest(x))
    count = timed(f"pairs of {rows:,} x 216 within 0.13 of it", lambda: sum(len(a) for a, _, _ in pairs_closer(x, radius)))
    print(f"{count} pairs")


if __name__ == "__main__":
    {"near": near, "labels": labels, "scale": scale}[sys.argv[1]](int(sys.argv[2]))
