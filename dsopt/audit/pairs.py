"""Pairs of near images, and groups of them in which each is near to the one that is kept."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int64

from dsopt.errors import JobError

MOST = 20_000_000  # pairs kept in memory: 400 MB

Pairs = tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"], Float[np.ndarray, " _"]]  # rows, other rows, how far apart


def joined(found: Iterable[Pairs], bounds: str) -> Pairs:
    """Pairs as one. Raises JobError if they are so many that the bounds make no sense for these images."""
    kept: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    total = 0
    for pairs in found:
        total += len(pairs[0])
        if total > MOST:
            raise JobError(f"audit.kinds: {bounds}: more than {MOST:,} pairs of images are so near; expected smaller bounds.")
        kept.append(pairs)
    a, b, apart = (np.concatenate(column) for column in zip(*kept, strict=True))
    return a, b, apart


def lead(
    count: int, a: Int64[np.ndarray, " p"], b: Int64[np.ndarray, " p"], apart: Float[np.ndarray, " p"]
) -> tuple[Int64[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """For each row the first row that it is grouped with, -1 for none, and how far that is.

    In order, a row that is in no group yet leads one, of all rows near to it that are in none. So every row is near to its leader;
    in the connected components of the pairs, which other tools take, the first and the last may have nothing in common.

    Args:
        a, b: pairs of rows, the lower one first.
    """
    order = np.lexsort((b, a))
    a, b, apart = a[order], b[order], apart[order]
    leader, distance = np.full(count, -1, np.int64), np.zeros(count, np.float32)
    heads, starts = np.unique(a, return_index=True)
    for head, start, stop in zip(heads, starts, np.append(starts, len(a))[1:], strict=True):
        if leader[head] < 0:
            free = leader[b[start:stop]] < 0
            if free.any():
                others = b[start:stop][free]
                leader[others], distance[others] = head, apart[start:stop][free]
                leader[head] = head
    return leader, distance
