"""A linear probe: the best linear classifier of stored embeddings, cross-fitted, in seconds."""

import math
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
        observe: called with every batch before its step, with the logits of the classifiers that never see these images.
        progress: called with the number of images seen.
    """
    n, d = embeddings.shape
    draw = torch.Generator().manual_seed(derive(seed, "probe"))
    fold = torch.randperm(n, generator=draw) % folds
    deviation, mean = torch.std_mean(embeddings, 0)
    features = (embeddings - mean) / deviation.clamp_min(1e-6)
    # All folds' classifiers in one matrix: one product for all, which is at least twice as fast as one for each fold.
    weights, bias = torch.zeros(d, folds * classes, requires_grad=True), torch.zeros(folds * classes, requires_grad=True)
    groups = [{"params": [weights], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, learning_rate, fused=True)
    steps = epochs * -(-n // batch_size)
    step = seen = 0
    for _ in range(epochs):
        for batch in torch.randperm(n, generator=draw).split(batch_size):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / steps))
            logits = torch.addmm(bias, features[batch], weights).view(-1, folds, classes)
            losses = F.cross_entropy(logits.flatten(0, 1), labels[batch].repeat_interleave(folds), reduction="none").view(-1, folds)
            observe(batch, labels[batch], logits.detach()[torch.arange(len(batch)), fold[batch]])
            minimize((losses * (fold[batch][:, None] != torch.arange(folds))).sum() / len(batch), optimizer)
            step, seen = step + 1, seen + len(batch)
            progress(seen)
    with torch.no_grad():
        every = torch.addmm(bias, features, weights).view(n, folds, classes)
    return Probe(every[torch.arange(n), fold], features)
