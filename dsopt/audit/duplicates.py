"""Images that are there more than once: the same, or nearly the same; in one split, or in the training and the test split."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Num

from dsopt.audit import hashes
from dsopt.audit.close import median_nearest, pairs_closer
from dsopt.audit.contract import Found, Seen, check
from dsopt.audit.pairs import Pairs, joined, lead
from dsopt.errors import InputError

EMPTY = 0.02  # contrast, 5 of 255: below it, a perceptual hash is of noise


@check(needs="looks", unit="images that are the same")
def exact_duplicates(seen: Seen) -> Found:
    """Images of the same content within a split; the first one with the commonest label of them is kept."""
    units = 2 * seen.units + seen.test.numpy()
    rows, groups, sizes = _members(units, np.bincount(units, minlength=1) > 1)
    return _grouped(rows, groups, sizes[groups], _keepers(rows, groups, seen.labels.numpy()))


@check(needs="looks", unit="images that are the same")
def leaks(seen: Seen) -> Found:
    """Images of the same content in the training and in the test split; the test images are kept."""
    test = seen.test.numpy()
    count = seen.units.max(initial=-1) + 1
    both = np.bincount(seen.units[test], minlength=count) * np.bincount(seen.units[~test], minlength=count) > 0
    rows, groups, sizes = _members(seen.units, both)
    return _grouped(rows, groups, sizes[groups], test[rows])


@check(needs="looks", unit="distance of thumbnails, in parts of their contrast")
def near_duplicates(seen: Seen, *, bits: int = 4, apart: float = 0.04) -> Found:
    """Training images that are nearly the same to look at: resized, compressed or made lighter.

    All pairs whose 64-bit perceptual hashes differ in at most `bits` bits, and whose thumbnails are at most `apart` apart. An image
    that is left out is so near to the one that is kept. Blank images are not compared.
    """
    return _stars(seen, _alike(seen, bits, apart))


@check(needs="looks", unit="distance of thumbnails, in parts of their contrast")
def near_leaks(seen: Seen, *, bits: int = 4, apart: float = 0.04) -> Found:
    """Training images that are nearly the same to look at as a test image; found as by `near_duplicates`."""
    return _across(seen, _alike(seen, bits, apart))


@check(needs="embeddings", unit="distance, in parts of the median distance to the nearest other image")
def embedding_duplicates(seen: Seen, *, share: float = 0.13) -> Found:
    """Training images whose embeddings nearly coincide: nearer than `share` of the median distance to the nearest other image.

    The bound follows from the data, so it suits any encoder. Datalab of cleanlab takes 0.13 of cosine distances, which are squares:
    about 0.36 here, where most pairs of Fashion-MNIST are different garments.
    """
    return _stars(seen, _close(seen, share))


@check(needs="embeddings", unit="distance, in parts of the median distance to the nearest other image")
def embedding_leaks(seen: Seen, *, share: float = 0.13) -> Found:
    """Training images whose embeddings nearly coincide with that of a test image; found as by `embedding_duplicates`."""
    return _across(seen, _close(seen, share))


def _alike(seen: Seen, bits: int, apart: float) -> Pairs:
    """Pairs of images of different content that are nearly the same to look at."""
    if not 0 <= bits <= 16:
        raise InputError(f"near_duplicates: bits={bits}: expected 0 to 16 of 64.")
    first = _first(seen)
    first = first[(seen.looks["contrast"][first] >= EMPTY).numpy()]
    thumbs = seen.looks["thumb"]

    def confirmed() -> Iterator[Pairs]:
        for a, b, _ in hashes.pairs_within(seen.looks["hash"].numpy().view(np.uint64)[first], bits):
            a, b = first[a], first[b]
            distance = (thumbs[a].float() - thumbs[b].float()).norm(dim=1).numpy()
            yield _kept((a, b, distance), distance <= apart)

    return joined(confirmed(), f"bits={bits} and apart={apart}")


def _close(seen: Seen, share: float) -> Pairs:
    """Pairs of images of different content whose embeddings nearly coincide, with distances in parts of the median nearest one."""
    if not 0 < share <= 1:
        raise InputError(f"embedding_duplicates: share={share}: expected a share in (0, 1].")
    assert seen.embeddings is not None
    x = seen.embeddings.to(seen.device)
    scale = median_nearest(x[~seen.test.to(x.device)])
    if scale == 0:  # most embeddings are that of another image: they tell nothing
        return joined([], "")
    units = seen.units
    pairs = ((a.cpu().numpy(), b.cpu().numpy(), d.cpu().numpy() / scale) for a, b, d in pairs_closer(x, share * scale))
    return joined((_kept(pair, units[pair[0]] != units[pair[1]]) for pair in pairs), f"share={share}")


def _kept(pairs: Pairs, which: Bool[np.ndarray, " p"]) -> Pairs:
    a, b, apart = pairs
    return a[which], b[which], apart[which]


def _first(seen: Seen) -> Int64[np.ndarray, " u"]:
    """One row for each content, in order: of a training image where there is one, as that is what may be left out."""
    order = np.lexsort((np.arange(len(seen.ids)), seen.test.numpy(), seen.units))
    return np.sort(order[np.r_[True, np.diff(seen.units[order]) > 0][: len(order)]])


def _stars(seen: Seen, pairs: Pairs) -> Found:
    """Groups of training images, each of one that is kept and others that are near to it; kept are the first ones in order."""
    test = seen.test.numpy()
    leader, distance = lead(len(test), *_kept(pairs, ~test[pairs[0]] & ~test[pairs[1]]))
    rows = np.flatnonzero(leader >= 0)
    heads, groups = np.unique(leader[rows], return_inverse=True)
    kept = leader[rows] == rows
    nearest = np.full(len(heads), np.inf, np.float32)
    np.minimum.at(nearest, groups[~kept], distance[rows[~kept]])
    apart = np.where(kept, nearest[groups], distance[rows])  # of the kept one: to the nearest of the others
    return _grouped(rows, groups, -apart, kept, by=-nearest)


def _across(seen: Seen, pairs: Pairs) -> Found:
    """Groups of a test image and the training images that are nearest to it of all test images."""
    test = seen.test.numpy()
    a, b, apart = _kept(pairs, test[pairs[0]] != test[pairs[1]])
    train, of_test = np.where(test[a], b, a), np.where(test[a], a, b)
    order = np.lexsort((of_test, apart, train))
    once = order[np.r_[True, np.diff(train[order]) > 0][: len(order)]]
    train, of_test, apart = train[once], of_test[once], apart[once]
    tests, groups = np.unique(of_test, return_inverse=True)
    nearest = np.full(len(tests), np.inf, np.float32)
    np.minimum.at(nearest, groups, apart.astype(np.float32))
    rows = np.r_[tests, train]
    both = np.r_[np.arange(len(tests)), groups]
    kept = np.r_[np.ones(len(tests), bool), np.zeros(len(train), bool)]
    return _grouped(rows, both, -np.r_[nearest, apart], kept, by=-nearest)


def _members(
    units: Int64[np.ndarray, " n"], wanted: Bool[np.ndarray, " u"]
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"], Int64[np.ndarray, " g"]]:
    """The rows of wanted units, the number of the group of each, and the sizes of the groups; numbered in order of first rows."""
    rows = np.flatnonzero(wanted[units])
    _, first, groups, sizes = np.unique(units[rows], return_index=True, return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(first))
    return rows, rank[groups], sizes[np.argsort(first)]


def _keepers(
    rows: Int64[np.ndarray, " m"], groups: Int64[np.ndarray, " m"], labels: Int64[np.ndarray, " n"]
) -> Bool[np.ndarray, " m"]:
    """Of each group the first row that has the commonest label."""
    _, of, counts = np.unique(np.stack([groups, labels[rows]]), axis=1, return_inverse=True, return_counts=True)
    common = counts[of] if len(rows) else np.empty(0, np.int64)
    order = np.lexsort((rows, -common, groups))
    kept = np.zeros(len(rows), bool)
    kept[order[np.r_[True, np.diff(groups[order]) > 0][: len(order)]]] = True
    return kept


def _grouped(
    rows: Int64[np.ndarray, " m"],
    groups: Int64[np.ndarray, " m"],
    badness: Num[np.ndarray, " m"],
    kept: Bool[np.ndarray, " m"],
    by: Float[np.ndarray, " g"] | None = None,
) -> Found:
    """Groups one after another, the worst first; of each the kept ones first.

    Args:
        by: how bad each group is; by default as bad as its members.
    """
    of_group = badness if by is None else by[groups]
    order = np.lexsort((rows, ~kept, groups, -of_group))
    new = np.r_[True, np.diff(groups[order]) != 0][: len(order)]
    number = torch.from_numpy(np.cumsum(new) - 1)
    scores = torch.from_numpy(np.abs(badness[order]).astype(np.float32))
    return Found(torch.from_numpy(rows[order]), scores, number, torch.from_numpy(kept[order]))
