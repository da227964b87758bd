"""Training a variational autoencoder; its decoder is a generator."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.data.batches import Batch, moved
from dsopt.learners.average import Average
from dsopt.learners.optim import minimize
from dsopt.learners.placement import Precision, autocast, compute_dtype, local_part, pack, place, unpack, unwrapped
from dsopt.seeds import derive


class VariationalLearner:
    """Adam on the negative evidence lower bound (Kingma & Welling 2014, arXiv:1312.6114, eq. 10; augmentation paper, eq. 5).

    `average.averaged_network()` is the trained generator.

    Args:
        encoder: (images, condition) -> (mean, standard deviation) of the code.
        generator: (code, condition) -> images.
        likelihood: (generated, real) -> negative log-likelihood, from `dsopt.losses.likelihood`.
        split: batch -> (images, condition), as in the adversarial learner.
        beta: weight of the divergence (beta-VAE, Higgins et al. 2017); 1 gives the bound.
        average: decay of the moving average of the decoder's weights, with which images are generated.
        sync_batch_norm: see `dsopt.learners.placement.place`.
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
        sync_batch_norm: bool = False,
        precision: Precision = "fp32",
        device: torch.device,
        world: int = 1,
    ) -> None:
        self.device, self.dtype, self.world = device, compute_dtype(precision, device), world
        self.likelihood, self.split, self.beta = likelihood, split, beta
        autoencoder = place(EncoderDecoder(encoder, generator), device, world, sync_batch_norm)
        self.autoencoder, self.average = autoencoder, Average(unwrapped(autoencoder).generator, average)
        self.networks: dict[str, nn.Module] = {"autoencoder": autoencoder, "average": self.average.network}
        adam = torch.optim.Adam(autoencoder.parameters(), learning_rate, betas=betas, fused=True)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"autoencoder": adam}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step on the batch. Returns {"loss": before it; its parts "reconstruction" and "divergence", in nats an image}."""
        images, condition = self.split(batch)
        with autocast(self.dtype, self.device):
            generated, mean, deviation = self.autoencoder(images, condition, lambda mean: self._noise(batch.seed, mean))

        reconstruction, kl = self.likelihood(generated.float(), images), divergence(mean, deviation)
        loss = reconstruction + self.beta * kl
        minimize(loss, self.optimizers["autoencoder"])
        self.average.update()
        return {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "divergence": kl.detach()}

    def _noise(self, seed: int, mean: Tensor) -> Tensor:
        random = torch.Generator().manual_seed(derive(seed, "variational"))
        whole = torch.randn(len(mean) * self.world, mean.shape[1], generator=random)
        return moved(local_part(whole, self.world), self.device)

    @torch.no_grad()
    def generate(self, noise: Tensor, condition: Any) -> Tensor:
        """Images generated with the decoder's averaged weights."""
        with autocast(self.dtype, self.device):
            return self.average.averaged_network()(noise, condition).float()

    def state_dict(self) -> dict[str, Any]:
        return pack(self.networks, self.optimizers, step=self.average.step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unpack(state, self.networks, self.optimizers)
        self.average.step = state["step"]


class EncoderDecoder(nn.Module):
    """(images, condition, mean -> noise) -> (generated images, mean, standard deviation).

    One module, as DistributedDataParallel needs a single forward pass.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.encoder, self.generator = encoder, generator

    def forward(self, images: Tensor, condition: Any, noise: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation = (part.float() for part in self.encoder(images, condition))
        return self.generator(mean + deviation * noise(mean), condition), mean, deviation


def divergence(mean: Float[Tensor, "b d"], deviation: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """The Kullback-Leibler divergence of a code's normal distribution from N(0, 1), summed over its dimensions, averaged over the
    batch (arXiv:1312.6114, eq. 10)."""
    return (mean.square() + deviation.square() - 1 - 2 * deviation.log()).sum() / (2 * len(mean))
