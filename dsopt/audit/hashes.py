"""All pairs of hashes that differ in few bits, without comparing all pairs."""

import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64, UInt64

BITS = 64
ALL = 4096  # so few are compared all with all
BLOCK = 1 << 22  # pairs compared at a time: 32 MB

Pairs = tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]  # rows, other rows, differing bits


def pairs_within(hashes: UInt64[np.ndarray, " n"], bits: int) -> Iterator[Pairs]:
    """All pairs of rows, each once and the lower row first, whose hashes differ in at most `bits` bits, in blocks.

    Exact: two hashes that differ in `bits` bits agree in one of `bits` + 1 bands of them, so only rows that share a band are
    compared (Manku et al. 2007, "Detecting near-duplicates for web crawling", section 3). Equal hashes are compared once.
    """
    known, row_of = np.unique(hashes, return_inverse=True)
    order = np.argsort(row_of, kind="stable")
    ends = np.cumsum(np.bincount(row_of, minlength=len(known)))
    starts = ends - np.diff(ends, prepend=0)
    for a, b, apart in _distinct(known, bits):
        yield from _expanded(order, starts, ends, a, b, apart)
    same = np.flatnonzero(ends - starts > 1)
    yield from _expanded(order, starts, ends, same, same, np.zeros(len(same), np.int64))


def _distinct(known: UInt64[np.ndarray, " m"], bits: int) -> Iterator[Pairs]:
    """The pairs among distinct hashes, by their numbers; a pair is given by the first band that it shares."""
    edges = np.linspace(0, BITS, bits + 2).astype(int)
    bands = [known >> np.uint64(low) & np.uint64((1 << high - low) - 1) for low, high in itertools.pairwise(edges.tolist())]
    if len(known) <= ALL:
        bands = [np.zeros_like(known)]
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        _, starts, sizes = np.unique(band[order], return_index=True, return_counts=True)
        for a, b in _within_runs(starts, sizes):
            a, b = order[a], order[b]
            apart = np.bitwise_count(known[a] ^ known[b])
            near = apart <= bits
            for earlier in bands[:number]:
                near &= earlier[a] != earlier[b]
            yield a[near], b[near], apart[near].astype(np.int64)


def _within_runs(
    starts: Int64[np.ndarray, " r"], sizes: Int64[np.ndarray, " r"]
) -> Iterator[tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]]:
    """All pairs of places within runs, in blocks: each place with all after it in its run."""
    first = np.repeat(starts, sizes) + _counting(sizes)  # all places of all runs, in order
    after = np.repeat(starts + sizes, sizes) - first - 1  # how many follow each place in its run
    first, after = first[after > 0], after[after > 0]
    for some in _blocks(after):
        yield np.repeat(first[some], after[some]), np.repeat(first[some] + 1, after[some]) + _counting(after[some])


def _expanded(
    order: Int64[np.ndarray, " n"],
    starts: Int64[np.ndarray, " m"],
    ends: Int64[np.ndarray, " m"],
    a: Int64[np.ndarray, " p"],
    b: Int64[np.ndarray, " p"],
    apart: Int64[np.ndarray, " p"],
) -> Iterator[Pairs]:
    """From pairs of distinct hashes to pairs of rows that have them."""
    counts = (ends[a] - starts[a]) * (ends[b] - starts[b])
    for some in _blocks(counts):
        each, place = np.repeat(np.arange(len(counts))[some], counts[some]), _counting(counts[some])
        width = (ends[b] - starts[b])[each]
        x, y = order[starts[a][each] + place // width], order[starts[b][each] + place % width]
        once = (x < y) | (a[each] != b[each])
        x, y, bits = x[once], y[once], apart[each][once]
        yield np.minimum(x, y), np.maximum(x, y), bits


def _blocks(counts: Int64[np.ndarray, " n"]) -> Iterator[slice]:
    """Slices whose counts add up to at most BLOCK, or that have one element."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + BLOCK, side="right")))
        yield slice(start, stop)
        start = stop


def _counting(counts: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " p"]:
    """0, 1, ... for each count: [2, 3] gives [0, 1, 0, 1, 2]."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
