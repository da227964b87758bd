"""A validation set held out from the training images, so that choices are made without the test images."""

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from dsopt.data.images import Images, rows
from dsopt.errors import InputError
from dsopt.seeds import derive, mix64


def held_out(ids: Int64[Tensor, " n"], share: float, seed: int) -> Bool[Tensor, " n"]:
    """About a share of the images, by a hash of their ids: whatever their order, and however many others there are."""
    bits = mix64(ids.numpy().astype(np.uint64) + np.uint64(derive(seed, "held out")))
    return torch.from_numpy((bits >> 11) * 2.0**-53 < share)  # 53 bits: what a double holds exactly


def unselected(images: Images, subset: Int64[Tensor, " k"], share: float, seed: int, streamed: bool | None = None) -> Images:
    """Images that a subset leaves out, as many as `share` of all if there are so many: always the same ones first.

    Raises InputError if the subset leaves none out.
    """
    outside = (~torch.isin(images.ids, subset)).nonzero().squeeze(1)
    if not len(outside):
        raise InputError(
            f"train.validate_on=unselected: the subset has all {len(images.ids)} images; give a smaller select.budget."
        )
    bits = mix64(images.ids[outside].numpy().astype(np.uint64) + np.uint64(derive(seed, "held out")))
    first = torch.from_numpy(np.argsort(bits, kind="stable")[: max(1, round(share * len(images.ids)))].copy())
    return rows(images, outside[first].sort().values, streamed)


def divided(images: Images, share: float, seed: int, key: str, *, held: bool, streamed: bool | None = None) -> Images:
    """The held-out images of a set (`held`) or those left to train on. Raises InputError, naming `key`, if there are none."""
    if not share and not held:
        return images
    chosen = (held_out(images.ids, share, seed) == held).nonzero().squeeze(1)
    if not len(chosen):
        left = "validate on" if held else "train on"
        raise InputError(f"{key}={share}: of {len(images.ids)} images, none is left to {left}.")
    return rows(images, chosen, streamed)
