"""An encoder that nothing trains: how a small picture answers fixed filters, in each part of it."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

SIDE = 32  # pixels a side of what is seen
FIELD = 5  # pixels a side of a filter
FILTERS = 27  # of the 75 of a color picture those whose answers vary most; all 25 of a gray one
CELLS = 3  # a side, in which answers are averaged
COLOR = 1 / 9  # variance of the differences between colors, as a share of that of lightness
OPPONENTS = ((1, 1, 1), (1, -1, 0), (1, 1, -2))  # lightness, red and green, both and blue


def answers(images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
    """The embeddings of pictures of `SIDE` x `SIDE` pixels: 486 numbers of color pictures, 450 of gray ones.

    Filters are rectified to either side and averaged in 3 x 3 cells, as Coates, Ng & Lee (2011), "An analysis of single-layer
    networks in unsupervised feature learning", do with learned ones; the root keeps few strong answers from outweighing the rest.
    """
    with torch.autocast(images.device.type, enabled=False):  # the root would make much of what bf16 rounds
        found = F.conv2d(images.float() / 255 - 0.5, filters(images.shape[1]).to(images.device), stride=2)
    sides = torch.cat([found.relu(), (-found).relu()], 1)
    return F.adaptive_avg_pool2d(sides, CELLS).sqrt().flatten(1)


@cache
def filters(channels: int) -> Float[Tensor, "k c s s"]:
    """Waves of the discrete cosine transform, of colors as opponents, scaled so that all answer photographs about as strongly.

    The principal components of patches of photographs are nearly these waves, and their amplitudes fall with the frequency (Field
    1987), so this is about what whitening learned patches gives, without the patches.
    """
    n = torch.arange(FIELD)
    waves = F.normalize(torch.cos(math.pi * (n + 0.5) * n[:, None] / FIELD), dim=1)
    colors = F.normalize(torch.tensor(OPPONENTS, dtype=torch.float32), dim=1) if channels == 3 else torch.eye(channels)
    shares = torch.tensor([1.0, COLOR, COLOR]) if channels == 3 else torch.ones(channels)
    variances = shares / (torch.hypot(n[:, None].float(), n.float()) + 0.5)[..., None].square()  # of frequencies and colors
    found = torch.einsum("kc,ui,vj->uvkcij", colors, waves, waves) / variances.sqrt()[..., None, None, None]
    order = variances.flatten().argsort(descending=True, stable=True)
    return found.flatten(0, 2)[order[:FILTERS]].contiguous()
