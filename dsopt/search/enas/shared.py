"""Training the weights that all children share, and the controller, by turns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.learners.classifier import mean_cross_entropy
from dsopt.learners.optim import step
from dsopt.learners.placement import place
from dsopt.search.enas.controller import Reinforce, Uniform
from dsopt.search.spaces.contract import Genotype, Space

RATE, FLOOR, MOMENTUM, WEIGHT_DECAY, CLIP = 0.05, 0.01, 0.9, 2.5e-4, 5.0  # FLOOR: share of the rate at the end


@dataclass(frozen=True)
class Turns:
    """Which step is whose: in every round some of the weights', then some of the controller's."""

    weights: int
    controller: int
    rounds: int

    def __len__(self) -> int:
        return self.rounds * (self.weights + self.controller)

    def at(self, step: int) -> tuple[Literal["weights", "controller"], int]:
        """Whose a step is, and how many of theirs were before it."""
        number, within = divmod(step, self.weights + self.controller)
        if within < self.weights:
            return "weights", number * self.weights + within
        return "controller", number * self.controller + within - self.weights


class SharedWeights:
    """A learner: a step of the weights trains a child that the controller names on a batch of training images; a step of the
    controller judges some that it names on a batch of held-out images (ENAS, arXiv:1802.03268, section 2.2).

    Batch normalisation takes the statistics of the batch, always, as in its authors' code. Theirs clips no gradient, because it
    appends the one before the clipping; this one does.
    """

    def __init__(self, space: Space, network: nn.Module, controller: Reinforce | Uniform, turns: Turns, samples: int, device: Any):
        assert space.shared
        self.device, self.controller, self.turns, self.samples = device, controller, turns, samples
        self.activate, self.step = space.shared[1], 0
        self.rewards: list[tuple[int, float]] = []  # mean accuracy of an update's children
        self.networks: dict[str, Any] = {"shared": place(network, device).train()}
        sgd = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"shared": sgd}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of whose turn it is; {"loss": cross-entropy of the children it looked at}."""
        whose, _ = self.turns.at(self.step)
        self.step += 1
        return {"loss": self._weights(batch) if whose == "weights" else self._controller(batch)}

    def _weights(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            (genotype,) = self.controller.name(1).genotypes.tolist()
        network, optimizer = self.networks["shared"], self.optimizers["shared"]
        self.activate(network, tuple(genotype))
        loss = mean_cross_entropy(network(batch.images), batch)
        optimizer.zero_grad(set_to_none=True)  # what the child does not use gets no step, not even of momentum
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        step(optimizer)
        return loss.detach()

    def _controller(self, batch: Batch) -> Tensor:
        named = self.controller.name(self.samples)
        logits = torch.stack([self.logits(tuple(genotype), batch.images) for genotype in named.genotypes.tolist()])
        accuracies = (logits.argmax(2) == batch.labels).float().mean(1)
        self.controller.learn(named, accuracies)
        self.rewards.append((self.step, float(accuracies.mean())))
        return torch.stack([F.cross_entropy(found, batch.labels) for found in logits]).mean()

    @torch.no_grad()
    def logits(self, genotype: Genotype, images: Tensor) -> Tensor:
        """What a child makes of a batch with the shared weights, [b, classes]."""
        self.activate(self.networks["shared"], genotype)
        return self.networks["shared"](images).float()

    def accuracy(self, genotype: Genotype, batches: Iterable[Batch]) -> float:
        right, count = 0.0, 0
        for batch in batches:
            right += float((self.logits(genotype, batch.images).argmax(1) == batch.labels).sum())
            count += len(batch.labels)
        return right / count

    def state_dict(self) -> dict[str, Any]:
        networks, optimizers = ({name: it.state_dict() for name, it in part.items()} for part in (self.networks, self.optimizers))
        own = {"controller": self.controller.state_dict(), "step": self.step, "rewards": self.rewards}
        return {"networks": networks, "optimizers": optimizers} | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks["shared"].load_state_dict(state["networks"]["shared"])
        self.optimizers["shared"].load_state_dict(state["optimizers"]["shared"])
        self.controller.load_state_dict(state["controller"])
        self.step, self.rewards = state["step"], list(state["rewards"])
