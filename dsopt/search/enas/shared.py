"""Alternating training of the weights that all children share and of the controller."""

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

# Of SGD for the shared weights. FLOOR: the final learning rate relative to RATE; CLIP: the largest gradient norm.
RATE, FLOOR, MOMENTUM, WEIGHT_DECAY, CLIP = 0.05, 0.01, 0.9, 2.5e-4, 5.0


@dataclass(frozen=True)
class Turns:
    """The order of steps: every round has `weights` steps of the shared weights, then `controller` steps of the controller."""

    weights: int
    controller: int
    rounds: int

    def __len__(self) -> int:
        return self.rounds * (self.weights + self.controller)

    def at(self, step: int) -> tuple[Literal["weights", "controller"], int]:
        """Which of the two is trained in a step, and how many steps it had before."""
        number, within = divmod(step, self.weights + self.controller)
        if within < self.weights:
            return "weights", number * self.weights + within
        return "controller", number * self.controller + within - self.weights


class SharedWeights:
    """The learner of shared weights and controller (ENAS, arXiv:1802.03268, section 2.2).

    A step of the weights trains one sampled child on a batch of training images. A step of the controller evaluates `samples`
    sampled children on a batch of held-out images, and trains the controller on their accuracies.

    Batch normalization always uses the statistics of the batch, as in the authors' code. Gradients are clipped here; the authors'
    code has a clipping without effect, since it applies the unclipped gradient.
    """

    def __init__(self, space: Space, network: nn.Module, controller: Reinforce | Uniform, turns: Turns, samples: int, device: Any):
        assert space.shared
        self.device, self.controller, self.turns, self.samples = device, controller, turns, samples
        self.activate, self.step = space.shared[1], 0
        self.rewards: list[tuple[int, float]] = []  # (step, mean accuracy of the children) of every controller step
        self.networks: dict[str, Any] = {"shared": place(network, device).train()}
        sgd = torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"shared": sgd}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the weights or of the controller; {"loss": mean cross-entropy of the sampled children}."""
        trained, _ = self.turns.at(self.step)
        self.step += 1
        return {"loss": self._update_weights(batch) if trained == "weights" else self._update_controller(batch)}

    def _update_weights(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            (genotype,) = self.controller.sample(1).genotypes.tolist()
        network, optimizer = self.networks["shared"], self.optimizers["shared"]
        self.activate(network, tuple(genotype))
        loss = mean_cross_entropy(network(batch.images), batch)
        optimizer.zero_grad(set_to_none=True)  # SGD skips parameters without gradient: those of other children keep their momentum
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        step(optimizer)
        return loss.detach()

    def _update_controller(self, batch: Batch) -> Tensor:
        sampled = self.controller.sample(self.samples)
        logits = torch.stack([self.logits(tuple(genotype), batch.images) for genotype in sampled.genotypes.tolist()])
        accuracies = (logits.argmax(2) == batch.labels).float().mean(1)
        self.controller.learn(sampled, accuracies)
        self.rewards.append((self.step, float(accuracies.mean())))
        return torch.stack([F.cross_entropy(found, batch.labels) for found in logits]).mean()

    @torch.no_grad()
    def logits(self, genotype: Genotype, images: Tensor) -> Tensor:
        """A child's logits of a batch, with the shared weights, [b, classes]."""
        self.activate(self.networks["shared"], genotype)
        return self.networks["shared"](images).float()

    def accuracy(self, genotype: Genotype, batches: Iterable[Batch]) -> float:
        """A child's accuracy with the shared weights, in 0..1."""
        correct, count = 0.0, 0
        for batch in batches:
            correct += float((self.logits(genotype, batch.images).argmax(1) == batch.labels).sum())
            count += len(batch.labels)
        return correct / count

    def state_dict(self) -> dict[str, Any]:
        networks, optimizers = ({name: it.state_dict() for name, it in part.items()} for part in (self.networks, self.optimizers))
        own = {"controller": self.controller.state_dict(), "step": self.step, "rewards": self.rewards}
        return {"networks": networks, "optimizers": optimizers} | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.networks["shared"].load_state_dict(state["networks"]["shared"])
        self.optimizers["shared"].load_state_dict(state["optimizers"]["shared"])
        self.controller.load_state_dict(state["controller"])
        self.step, self.rewards = state["step"], list(state["rewards"])
