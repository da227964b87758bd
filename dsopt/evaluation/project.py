"""Two dimensions of many: embeddings as points that can be drawn."""

from importlib.util import find_spec
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

NEIGHBOURS = 15  # of UMAP, its default; it needs more points than that


def project(embeddings: Float[Tensor, "n d"], seed: int) -> tuple[Literal["UMAP", "PCA"], Float[Tensor, "n 2"]]:
    """Positions by UMAP if `umap-learn` is installed, else by PCA; and which of them it was. The same for the same seed."""
    if find_spec("umap") and len(embeddings) > NEIGHBOURS:
        return "UMAP", umap(embeddings, seed)
    return "PCA", pca(embeddings)


def pca(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n 2"]:
    """The first two principal components, exact. In each direction the element of largest size is positive: a sign is no chance."""
    centered = embeddings.double() - embeddings.double().mean(0)
    _, directions = torch.linalg.eigh(centered.T @ centered)  # ascending
    top = directions[:, -2:].flip(1)
    top = top * top.gather(0, top.abs().argmax(0, keepdim=True)).sign()
    return F.pad(centered @ top, (0, 2 - top.shape[1])).float()


def umap(embeddings: Float[Tensor, "n d"], seed: int) -> Float[Tensor, "n 2"]:
    """McInnes, Healy and Melville 2018, arXiv:1802.03426. One thread: with more, the positions differ from run to run."""
    from umap import UMAP  # pyright: ignore[reportMissingImports]

    reducer = UMAP(n_neighbors=NEIGHBOURS, random_state=seed % 2**32, n_jobs=1)
    return torch.from_numpy(reducer.fit_transform(embeddings.cpu().numpy())).float()
