"""Training a variational autoencoder, whose decoder is a generator."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.learners.average import Average
from dsopt.learners.optim import minimise
from dsopt.learners.placement import Precision, autocast, bare, compute_dtype, local_part, pack, place, unpack
from dsopt.seeds import derive


class VariationalLearner:
    """Adam on the negative evidence bound (Kingma & Welling 2014, arXiv:1312.6114, eq. 10; augmentation paper, eq. 5).

    `average.finished()` is the trained generator.

    Args:
        encoder: (images, condition) -> (mean, deviation) of the code.
        generator: (code, condition) -> images.
        likelihood: (made, real) -> negative logarithm, from `dsopt.losses.likelihood`.
        split: batch -> (images, condition), as of the adversarial learner.
        beta: weight of the divergence (Higgins et al. 2017); 1 is the bound.
        average: decay of the averaged weights that images are made with.
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        likelihood: Callable[[Tensor, Tensor], Tensor],
        *,
        split: Callable[[Batch], tuple[Tensor, Any]],
        beta: float = 1.0,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.5, 0.999),
        average: float = 0.999,
        precision: Precision = "fp32",
        device: torch.device,
        world: int = 1,
    ) -> None:
        self.device, self.dtype, self.world = device, compute_dtype(precision, device), world
        self.likelihood, self.split, self.beta = likelihood, split, beta
        autoencoder = place(Both(encoder, generator), device, world)
        self.autoencoder, self.average = autoencoder, Average(bare(autoencoder).generator, average)
        self.networks: dict[str, nn.Module] = {"autoencoder": autoencoder, "average": self.average.network}
        adam = torch.optim.Adam(autoencoder.parameters(), learning_rate, betas=betas, fused=True)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"autoencoder": adam}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step on the batch; {"loss": before it, "reconstruction" and "divergence", its two parts, in nats an image}."""
        images, condition = self.split(batch)
        with autocast(self.dtype, self.device):
            made, mean, deviation = self.autoencoder(images, condition, lambda mean: self._noise(batch.seed, mean))
        reconstruction, apart = self.likelihood(made.float(), images), divergence(mean, deviation)
        loss = reconstruction + self.beta * apart
        minimise(loss, self.optimizers["autoencoder"])
        self.average.follow()
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "divergence": apart.detach()}

    def _noise(self, seed: int, mean: Tensor) -> Tensor:
        random = torch.Generator().manual_seed(derive(seed, "variational"))
        whole = torch.randn(len(mean) * self.world, mean.shape[1], generator=random)
        return local_part(whole, self.world).to(self.device)

    @torch.no_grad()
    def make(self, noise: Tensor, condition: Any) -> Tensor:
        """Images by the decoder's averaged weights."""
        with autocast(self.dtype, self.device):
            return self.average.finished()(noise, condition).float()

    def state_dict(self) -> dict[str, Any]:
        return pack(self.networks, self.optimizers, step=self.average.step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unpack(state, self.networks, self.optimizers)
        self.average.step = state["step"]


class Both(nn.Module):
    """(images, condition, mean -> noise) -> (made, mean, deviation): one pass through code and images."""

    def __init__(self, encoder: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(self, images: Tensor, condition: Any, noise: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation = (part.float() for part in self.encoder(images, condition))
        return self.generator(mean + deviation * noise(mean), condition), mean, deviation


def divergence(mean: Float[Tensor, "b d"], deviation: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Of a code's normal distribution from N(0, 1), summed over its numbers, the mean over the batch (arXiv:1312.6114, eq. 10)."""
    return (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum() / (2 * len(mean))
