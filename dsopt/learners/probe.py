"""A linear probe: the best linear classifiers of stored embeddings, in seconds; cross-fitted, to judge the images themselves."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dsopt.learners.optim import minimize
from dsopt.seeds import derive

Observe = Callable[[Tensor, Tensor, Tensor], None]  # indices [b], labels [b], logits [b, classes]
LEAST = 10  # steps an epoch: few images come in smaller batches, or the classifiers would hardly be trained
SIZE = 1280  # of the embeddings that a learning rate is for; smaller ones need larger weights, so a larger rate


class Linear(NamedTuple):
    """`m` linear classifiers of the same embeddings, which they see standardized by column."""

    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]
    weights: Float[Tensor, "d m*c"]
    bias: Float[Tensor, " m*c"]
    classes: int

    def features(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The embeddings as the classifiers see them."""
        return (embeddings - self.mean) / self.deviation

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n m c"]:
        """What each classifier says of these features."""
        return torch.addmm(self.bias, features, self.weights).unflatten(1, (-1, self.classes))


def fit(
    embeddings: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    trained: Bool[Tensor, "n m"],
    classes: int,
    draw: torch.Generator,
    *,
    epochs: int = 20,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    observe: Observe = lambda indices, labels, logits: None,
    progress: Callable[[int], None] = lambda images: None,
) -> Linear:
    """Train linear classifiers, all at once, by AdamW; the rate falls as a cosine.

    Args:
        trained: which classifier is trained on which images.
        learning_rate: for embeddings of `SIZE` numbers; for others it is larger or smaller in proportion.
        draw: of the batches.
        observe: called with every batch before its step, with the logits [b, m, classes].
        progress: called with the number of images seen.
    """
    n, d = embeddings.shape
    deviation, mean = torch.std_mean(embeddings, 0, correction=0)
    # All classifiers in one matrix: one product for all, which is at least twice as fast as one for each.
    m, size = trained.shape[1], min(batch_size, max(1, n // LEAST))
    weights, bias = torch.zeros(d, m * classes, requires_grad=True), torch.zeros(m * classes, requires_grad=True)
    found = Linear(mean, deviation.clamp_min(1e-6), weights, bias, classes)
    features = found.features(embeddings)
    groups = [{"params": [weights], "weight_decay": weight_decay}, {"params": [bias], "weight_decay": 0.0}]
    rate = learning_rate * SIZE / d
    optimizer = torch.optim.AdamW(groups, rate, fused=True)
    steps = epochs * -(-n // size)
    step = seen = 0
    for _ in range(epochs):
        for batch in torch.randperm(n, generator=draw).split(size):
            for group in optimizer.param_groups:
                group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * step / steps))
            logits = found.logits(features[batch])
            losses = F.cross_entropy(logits.flatten(0, 1), labels[batch].repeat_interleave(m), reduction="none").view(-1, m)
            observe(batch, labels[batch], logits.detach())
            minimize((losses * trained[batch]).sum() / len(batch), optimizer)
            step, seen = step + 1, seen + len(batch)
            progress(seen)
    return found._replace(weights=weights.detach(), bias=bias.detach())


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
    observe: Observe = lambda indices, labels, logits: None,
    **options: Any,
) -> Probe:
    """Train a linear classifier for each fold, on all other folds.

    Args:
        observe: called with every batch before its step, with the logits of the classifier that never sees these images.
        options: those of `fit`.
    """
    n = len(embeddings)
    draw = torch.Generator().manual_seed(derive(seed, "probe"))
    fold = torch.randperm(n, generator=draw) % folds

    def of_one(batch: Tensor, labels: Tensor, logits: Tensor) -> None:
        observe(batch, labels, logits[torch.arange(len(batch)), fold[batch]])

    found = fit(embeddings, labels, fold[:, None] != torch.arange(folds), classes, draw, observe=of_one, **options)
    features = found.features(embeddings)
    return Probe(found.logits(features)[torch.arange(n), fold], features)
