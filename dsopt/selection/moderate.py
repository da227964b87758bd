"""Neither the typical nor the atypical images of a class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.clusters import means
from dsopt.selection.contract import Selection, selector


@selector(labels=True)
def moderate(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Take the images whose distance to the center of their class is nearest the median (Moderate coreset, Xia et al., ICLR 2023).

    The center is the mean of the class. The median is over the distances of all images, as in the authors' code; with `per_class`,
    over those of each class. The score is the negative distance to the median.
    """
    names, classes = labels.unique(return_inverse=True)
    centers = means(embeddings, classes, embeddings.new_zeros(len(names), embeddings.shape[1]))
    distances = (embeddings - centers[classes]).square().sum(1).sqrt()
    closeness = -(distances - distances.median()).abs()
    chosen = closeness.argsort(descending=True, stable=True)[:budget]
    return Selection(chosen, closeness[chosen], [f"class {label}" for label in labels[chosen].tolist()])
