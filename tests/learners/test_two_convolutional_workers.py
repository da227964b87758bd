"""Two gloo workers on halves of a batch train convolutional networks as one worker does on the whole batch.

Networks are channels-last once a learner has placed them, so this covers gradients whose memory layout must follow the weights':
torch's fused optimizers pair the two by position in memory. No batch normalization: its statistics are those of half a batch.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from dsopt.data.batches import Batch
from dsopt.distillation.synthetic import descend
from dsopt.learners.adversarial import AdversarialLearner, WeightedTerm
from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.learners.classifier import Classifier
from dsopt.learners.optim import set_gradients, step
from dsopt.learners.variational import VariationalLearner
from dsopt.losses.adversarial import hinge
from dsopt.losses.likelihood import bernoulli
from dsopt.losses.reconstruction import wasserstein
from dsopt.losses.terms import gradient_penalty
from dsopt.models.critic import critic
from dsopt.models.dcgan import dcgan_discriminator

STEPS, SIZE, BATCH, LATENT = 8, 24, 8, 5
COMMON: dict[str, Any] = {"precision": "fp32", "device": torch.device("cpu")}


class Generator(nn.Module):
    """Noise [b, LATENT] -> images [b, 3, SIZE, SIZE] in 0..1."""

    conditional = False

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(LATENT, 6 * 6 * 6)
        self.ups = nn.ModuleList([nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.ConvTranspose2d(4, 3, 4, 2, 1)])

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        images = self.first(noise).view(-1, 6, 6, 6)
        return self.ups[1](F.leaky_relu(self.ups[0](F.leaky_relu(images)))).sigmoid()


class Encoder(nn.Module):
    """Images -> (mean, standard deviation) of the code."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(), nn.Conv2d(4, 6, 4, 2, 1), nn.Flatten())
        self.last = nn.Linear(6 * 36, 2 * LATENT)

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, spread = self.last(self.convolutions(images)).chunk(2, dim=1)
        return mean, F.softplus(spread) + 1e-6


def adversarial(world: int) -> AdversarialLearner:
    return AdversarialLearner(
        Generator(),
        dcgan_discriminator(3, SIZE, 10, width=4, norm="none"),
        hinge(),
        [WeightedTerm("gradient_penalty", 10.0, "discriminator", gradient_penalty())],
        split=lambda batch: (batch.images, None),
        noise=lambda count, random: torch.randn(count, LATENT, generator=random),
        world=world,
        **COMMON,
    )


def variational(world: int) -> VariationalLearner:
    return VariationalLearner(Encoder(), Generator(), bernoulli, split=lambda batch: (batch.images, None), world=world, **COMMON)


def classifier(world: int) -> Classifier:
    network = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.LeakyReLU(), nn.Conv2d(4, 6, 3, 2), nn.Flatten(), nn.Linear(6 * 16, 10))
    return Classifier(network, learning_rate=0.1, momentum=0.9, weight_decay=0.004, average=0.9, world=world, **COMMON)


def autoencoder(world: int) -> AutoencoderLearner:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(4, 3, 3, padding=1))
    return AutoencoderLearner(network, wasserstein(), critic(3, width=4), learning_rate=0.1, momentum=0.9, world=world, **COMMON)


LEARNERS: list[Callable[[int], Any]] = [adversarial, variational, classifier, autoencoder]


def trained(make: Callable[[int], Any], rank: int, world: int) -> list[float]:
    """All weights after some steps on this worker's part of each batch; the first worker's initial weights are everyone's."""
    torch.manual_seed(rank)
    learner, part = make(world), slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    for seed in range(STEPS):
        random = torch.Generator().manual_seed(seed)
        images = torch.rand(BATCH, 3, SIZE, SIZE, generator=random).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(10, (BATCH,), generator=random)
        learner.update(Batch(images[part], labels[part], seed))
    weights = [value.flatten() for network in learner.state_dict()["networks"].values() for value in network.values()]
    return torch.cat(weights).tolist()


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    Path(folder, f"{rank}.json").write_text(json.dumps({make.__name__: trained(make, rank, 2) for make in LEARNERS}))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[float]]]:
    """The weights that each of two workers ends with, by learner; the workers start once for all tests."""
    folder = tmp_path_factory.mktemp("two")
    spawn(_worker, (str(folder),), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("make", LEARNERS)
def test_two_workers_train_convolutions_as_one_does(make, both):
    first, second = (torch.tensor(found[make.__name__]) for found in both)
    alone = torch.tensor(trained(make, 0, 1))
    assert torch.equal(first, second)
    assert float((first - alone).norm() / alone.norm()) < 1e-4


def channels_last() -> Tensor:
    weights = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    return weights.contiguous(memory_format=torch.channels_last).requires_grad_()


def test_gradients_take_the_layout_of_their_parameters():
    contiguous, parameter = torch.randn(4, 3, 3, 3), channels_last()
    set_gradients([parameter], [contiguous])
    assert parameter.grad is not None and parameter.grad.stride() == parameter.stride()
    assert torch.equal(parameter.grad, contiguous)
    in_place = parameter.grad
    set_gradients([parameter], [2 * contiguous])
    assert parameter.grad is in_place and torch.equal(in_place, 2 * contiguous)


@pytest.mark.parametrize("fused", [False, True])
def test_a_distillers_step_is_the_same_in_every_layout(fused):
    gradient, expected, found = torch.randn(4, 3, 3, 3), channels_last(), channels_last()
    expected.grad = gradient.contiguous(memory_format=torch.channels_last)
    step(torch.optim.Adam([expected], 0.1, fused=fused))
    descend(torch.optim.Adam([found], 0.1, fused=fused), [gradient], 1)
    assert torch.equal(found, expected)
