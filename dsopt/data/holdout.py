"""Images held out from training, to judge by without the test images."""

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from dsopt.seeds import derive


def held_out(ids: Int64[Tensor, " n"], share: float, seed: int) -> Bool[Tensor, " n"]:
    """About a share of the images, by a hash of their ids: whatever their order, and however many others there are."""
    # The finaliser of SplitMix64 (Steele et al. 2014, doi:10.1145/2714064.2660195): neighbouring ids become independent bits.
    x = ids.numpy().astype(np.uint64) + np.uint64(derive(seed, "held out"))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return torch.from_numpy((x >> np.uint64(11)) * 2.0**-53 < share)
