"""Images unlike all others."""

import torch

from dsopt.audit.contract import Found, Seen, check, worst
from dsopt.errors import InputError
from dsopt.selection.kernels.neighbours import nearest


@check(needs="embeddings", unit="mean distance to the nearest images, in parts of its median")
def outliers(seen: Seen, *, neighbours: int = 10, fences: float = 3.0) -> Found:
    """Training images far from their nearest ones: the mean distance of the embedding to the `neighbours` nearest others.

    Far is beyond the upper quartile by `fences` times the range between the quartiles (Tukey 1977, "far out" with 3).
    Distances are exact up to 50,000 images, then as `dsopt.selection.kernels.neighbours.nearest` says.
    """
    if neighbours < 1 or fences <= 0:
        raise InputError(f"outliers: neighbours={neighbours}, fences={fences}: expected at least 1, and above 0.")
    assert seen.embeddings is not None
    rows = (~seen.test).nonzero().squeeze(1)
    if len(rows) <= neighbours:
        return worst(torch.zeros_like(seen.test), torch.zeros(len(seen.test)))
    squared, _ = nearest(seen.embeddings[rows], neighbours)
    distance = squared.clamp(min=0).sqrt().mean(1)
    low, high = (float(distance.kthvalue(max(1, round(share * len(rows)))).values) for share in (0.25, 0.75))
    values = torch.zeros(len(seen.test))
    values[rows] = distance / distance.median().clamp(min=1e-12)
    far = torch.zeros_like(seen.test)
    far[rows] = distance > high + fences * (high - low)
    return worst(far, values, largest=True)
