"""Selection from an array of embeddings."""

import functools
from typing import Any

import torch
from torch import Tensor

from dsopt.errors import InputError
from dsopt.notebook.arrays import Array, Scores, columns, integers, tensor
from dsopt.registry import SELECTORS
from dsopt.selection.balance import per_class as in_each_class
from dsopt.selection.choose import UNLABELLED, resolve
from dsopt.selection.kernels.pca import principal


def select(
    embeddings: Array,
    labels: Any = None,
    budget: int | float = 0.1,
    name: str = "kcenter",
    seed: int = 0,
    *,
    per_class: bool = False,
    scores: Scores | None = None,
    pca: int | None = None,
    **options: Any,
) -> Array:
    """Choose rows of an array of embeddings by a selection method: their indices, best first.

    Args:
        embeddings: [n, d], numbers; methods that look at no embeddings only count the rows.
        labels: int [n]; may be left out where the method needs none.
        budget: how many (an int), or what share of the rows (a float).
        per_class: choose the same number from every class.
        scores: {name: [n] or [n, s]}, for methods that need them; see `dsopt.training.dynamics`.
        pca: look only at this many principal components.
        options: of the method.

    Returns:
        int64 [budget]: a tensor on the same device, or an array, as the embeddings are.

    Raises:
        InputError: an unknown name or option, or data that does not fit the method.
    """
    traits, method = SELECTORS.traits(name), SELECTORS.build(name, options)
    rows = tensor(embeddings, "select: embeddings").cpu()
    if rows.ndim != 2:
        raise InputError(f"select: embeddings of shape {tuple(rows.shape)}: expected [n, d]; flatten all but the first.")
    rows = rows.float() if traits.embeddings else rows[:, :0].float()
    if not rows.isfinite().all():
        raise InputError("select: an embedding is not finite.")
    count = resolve(budget, len(rows))
    known = integers(labels, "select: labels", len(rows)) if labels is not None else torch.full((len(rows),), UNLABELLED)
    if (per_class or traits.labels) and (known < 0).any():
        raise InputError(f"select: {name if traits.labels else 'per_class=True'} needs labels, all 0 or more.")
    method = functools.partial(in_each_class, method) if per_class else method
    method = functools.partial(principal, method, pca) if pca and traits.embeddings else method
    more = [columns(scores, traits.scores, f"select: {name}", len(rows))] if traits.scores else []
    chosen = method(rows, known, count, torch.Generator().manual_seed(seed), *more).indices
    return chosen.to(embeddings.device) if isinstance(embeddings, Tensor) else chosen.numpy()  # pyright: ignore[reportReturnType]
