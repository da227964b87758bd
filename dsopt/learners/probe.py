"""A linear probe: the best linear classifier of stored embeddings, cross-fitted, in seconds."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.learners.optim import minimize
from dsopt.seeds import derive

Observe = Callable[[Tensor, Tensor, Tensor], None]  # indices [b], labels [b], logits [b, classes]


class Probe(NamedTuple):
    """What a probe tells of the images that it was trained on, each by a classifier that has not seen it.

    Args:
        logits: of every image.
        features: the embeddings as the classifiers see them, standardized by column.
    """

    logits: Float[Tensor, "n c"]
    features: Float[Tensor, "n d"]


def probe(
    embeddings: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    classes: int,
    seed: int,
    *,
    folds: int = 5,
    epochs: int = 20,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    observe: Observe = lambda indices, labels, logits: None,
    progress: Callable[[int], None] = lambda images: None,
) -> Probe:
    """Train a linear classifier for each fold, on all other folds at once, by AdamW; the rate falls as a cosine.

    Args:
        observe: called with every batch before its step, with the logits of a classifier that is trained on these images.
        progress: called with the number of images seen.
    """
    n, d = embeddings.shape
    draw = torch.Generator().manual_seed(derive(seed, "probe"))
    fold = torch.randperm(n, generator=draw) % folds
    deviation, mean = torch.std_mean(embeddings, 0)
    features = (embeddings - mean) / deviation.clamp_min(1e-6)
    weights, bias = torch.zeros(folds, d, classes, requires_grad=True), torch.zeros(folds, 1, classes, requires_grad=True)
    groups = [{"params": [weights], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, learning_rate, fused=True)
    steps = epochs * -(-n // batch_size)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * float(torch.tensor(step / steps * torch.pi).cos()))
    seen = 0
    for _ in range(epochs):
        for batch in torch.randperm(n, generator=draw).split(batch_size):
            logits = features[batch] @ weights + bias  # [folds, b, classes]
            losses = F.cross_entropy(logits.flatten(0, 1), labels[batch].repeat(folds), reduction="none").view(folds, -1)
            observe(batch, labels[batch], logits.detach()[(fold[batch] + 1) % folds, torch.arange(len(batch))])
            minimize((losses * (fold[batch] != torch.arange(folds)[:, None])).sum(1).div(len(batch)).sum(), optimizer)
            rate.step()
            seen += len(batch)
            progress(seen)
    with torch.no_grad():
        logits = torch.cat([_unseen(features[i], fold[i], weights, bias) for i in torch.arange(n).split(8192)])
    return Probe(logits, features)


def _unseen(features: Tensor, fold: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """The logits of images by the classifiers of their own folds."""
    found = torch.empty(len(features), weights.shape[2])
    for i in range(len(weights)):
        found[fold == i] = features[fold == i] @ weights[i] + bias[i]
    return found
