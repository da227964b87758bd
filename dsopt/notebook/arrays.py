"""Arrays and tensors as users have them -> tensors as methods take them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.errors import InputError

Array = TypeVar("Array", np.ndarray, Tensor)
Scores = Mapping[str, Any]  # name -> [n] or [n, s]


def tensor(values: Any, what: str) -> Tensor:
    """A tensor as it is, without its graph; an array as a tensor, without a copy where possible."""
    if isinstance(values, Tensor):
        return values.detach()
    try:
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    except TypeError:
        raise InputError(f"{what}: expected an array or a tensor of numbers.") from None


def integers(values: Any, what: str, n: int) -> Int64[Tensor, " n"]:
    """One integer for each of n rows, on the CPU."""
    found = tensor(values, what).cpu()
    if found.shape != (n,) or found.is_floating_point():
        raise InputError(f"{what}: {found.dtype} of shape {tuple(found.shape)}: expected {n} integers.")
    return found.long()


def columns(scores: Scores | None, names: Sequence[str], what: str, n: int) -> Float[Tensor, "n s"]:
    """The scores that a method needs, side by side, on the CPU."""
    given = scores or {}
    for name in names:
        if name not in given:
            raise InputError(f"{what} needs scores={{{', '.join(f'{name!r}: ...' for name in names)}}}.")
    found = [tensor(given[name], f"{what}: scores: {name}").cpu().float() for name in names]
    for name, column in zip(names, found, strict=True):
        if column.ndim not in (1, 2) or len(column) != n or not column.isfinite().all():
            raise InputError(f"{what}: scores: {name}: of shape {tuple(column.shape)}: expected finite numbers for {n} rows.")
    return torch.cat([column.view(n, -1) for column in found], 1)
