"""Training a classifier."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.learners.average import Average, Best
from dsopt.learners.compiled import How, passes
from dsopt.learners.optim import minimize
from dsopt.learners.optimizers import Decay, Name, optimizer_of
from dsopt.learners.placement import Precision, autocast, compute_dtype, pack, place, scaler, unpack, unwrapped


def mean_cross_entropy(logits: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy over the batch, each image with its weight; labels are class indices or probabilities.

    Args:
        smoothing: the share of every label that goes to all classes evenly.
    """
    if batch.weights is None:
        return F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
    # Divided by the number of images and not by the sum of the weights, as in the code of InfoBatch (arXiv:2303.04947).
    return (F.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=smoothing) * batch.weights).mean()


class Classifier:
    """Descends the cross-entropy; evaluated with a moving average of the weights (selection paper, sections 4.1.1 and 4.1.3).

    Args:
        network: images [b, c, h, w] -> logits [b, classes].
        optimizer, decay: see `dsopt.learners.optimizers.optimizer_of`.
        label_smoothing: see `mean_cross_entropy`; measures are without it.
        average: decay of the moving average of the weights.
        sync_batch_norm: see `dsopt.learners.placement.place`.
        compile: see `dsopt.learners.compiled.passes`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        average: float,
        optimizer: Name = "sgd",
        decay: Decay = "dense",
        label_smoothing: float = 0.0,
        sync_batch_norm: bool = False,
        compile: How = "off",
        precision: Precision,
        device: torch.device,
        world: int = 1,
    ) -> None:
        self.device, self.dtype = device, compute_dtype(precision, device, half=True)
        self.scaler = scaler(self.dtype, device)
        trained = place(network, device, world, sync_batch_norm)
        self.passes = passes(trained, compile, device, world)
        self.average = Average(unwrapped(trained), average)
        self.networks: dict[str, nn.Module] = {"classifier": trained, "average": self.average.network}

        self.best: Best | None = None
        found = optimizer_of(network, optimizer, learning_rate, momentum, weight_decay, decay)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"classifier": found}
        self.label_smoothing = label_smoothing

    def keep_best(self) -> Best:
        """From now on, keep the weights with the best score that is offered; they are part of the learner's state."""
        self.best = Best(self.average)
        self.networks["best"] = self.best.network
        return self.best

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step on the batch. Returns {"loss": the cross-entropy before it}."""
        with autocast(self.dtype, self.device):
            logits = self.passes(batch.images)
        loss = mean_cross_entropy(logits.float(), batch, self.label_smoothing)
        minimize(loss, self.optimizers["classifier"], self.scaler)
        self.average.update()
        if batch.observe:
            batch.observe(logits.detach())
        return {"loss": loss.detach()}

    @torch.no_grad()
    def losses(self, batch: Batch) -> Float[Tensor, " b"]:
        """The cross-entropy of every image of a batch, without a step on it."""
        with autocast(self.dtype, self.device):
            logits = unwrapped(self.networks["classifier"])(batch.images)
        return F.cross_entropy(logits.float(), batch.labels, reduction="none")

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """{"accuracy", "loss"} with the averaged weights and the batch statistics of the trained ones."""
        network = self.average.averaged_network()
        correct, loss, count = 0.0, 0.0, 0
        for batch in batches:
            with autocast(self.dtype, self.device):
                logits = network(batch.images)
            correct += float((logits.argmax(1) == batch.labels).sum())
            loss += float(F.cross_entropy(logits.float(), batch.labels, reduction="sum"))
            count += len(batch.labels)
        return {"accuracy": correct / count, "loss": loss / count}

    def state_dict(self) -> dict[str, Any]:
        more = {"best": self.best.score} if self.best else {}
        return pack(self.networks, self.optimizers, self.scaler, step=self.average.step, **more)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        unpack(state, self.networks, self.optimizers, self.scaler)
        self.average.step = state["step"]
        if self.best:
            self.best.score = state["best"]
