"""What a check is: it gets what is known of all images of a data set, and points at some of them.

A check is `(seen, *, options) -> Found`, entered with `@check(...)`, which says what it needs. All checks that are enabled write
the one table of issues; `select.drop` leaves out what it names. Nothing is changed or deleted by a check.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dsopt.registry import CHECKS

CPU = torch.device("cpu")

Needs = Literal["looks", "embeddings", "scores"]


@dataclass
class Seen:
    """What is known of the images of a data set, in the order of their ids. A check is given what it needs; the rest is empty.

    Args:
        test: which images are of the test split; for checks that need embeddings or scores, some images may be missing.
        labels: -1: none.
        content: 16 bytes an image that are equal for equal images, as two numbers.
        looks: the columns that `dsopt.audit.looks.looks` describes; `width` and `height` in pixels of the originals, 0: not known.
        scores: the columns of a judge's table, by name; `probability` is [n, classes].
        device: where to compute.
    """

    ids: Int64[Tensor, " n"]
    test: Bool[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    content: Int64[np.ndarray, "n 2"] | None = None
    looks: dict[str, Tensor] = field(default_factory=dict)
    embeddings: Float[Tensor, "n d"] | None = None
    scores: dict[str, Tensor] = field(default_factory=dict)
    device: torch.device = CPU

    @cached_property
    def units(self) -> Int64[np.ndarray, " n"]:
        """The same number for images of the same content."""
        assert self.content is not None
        order = np.lexsort((self.content[:, 1], self.content[:, 0]))
        ordered = self.content[order]
        units = np.empty(len(order), np.int64)
        units[order] = np.cumsum(np.r_[False, (ordered[1:] != ordered[:-1]).any(1)]) if len(order) else 0
        return units


class Found(NamedTuple):
    """What a check points at, worst first; of groups all members, group by group.

    Args:
        rows: of the images.
        scores: in the unit that the check was entered with.
        groups: numbers of groups; None: it finds single images.
        kept: which ones would be kept if this kind were left out; None: none of them.
        labels: the labels that are likelier than the given ones; None: it is not about labels.
    """

    rows: Int64[Tensor, " m"]
    scores: Float[Tensor, " m"]
    groups: Int64[Tensor, " m"] | None = None
    kept: Bool[Tensor, " m"] | None = None
    labels: Int64[Tensor, " m"] | None = None


def check(*, needs: Needs, unit: str) -> Callable[..., Any]:
    """Enter a function as a check.

    Args:
        needs: looks: what the pixels tell; embeddings; scores: what a classifier tells, where there are labels.
        unit: what its scores are, for people.
    """
    return CHECKS.register(needs=needs, unit=unit)


def worst(rows: Bool[Tensor, " n"], values: Float[Tensor, " n"], *, largest: bool = False) -> Found:
    """The rows that are at fault, ordered by a value; ties by the lowest row."""
    found = rows.nonzero().squeeze(1)
    order = values[found].argsort(stable=True, descending=largest)
    return Found(found[order], values[found[order]].float())
