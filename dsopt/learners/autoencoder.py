"""Training an autoencoder."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dsopt.data.batches import Batch, moved
from dsopt.learners.optim import minimize
from dsopt.learners.placement import Precision, autocast, compute_dtype, local_part, pack, place, scaler, unpack, unwrapped
from dsopt.losses.reconstruction import ReconstructionLoss


class AutoencoderLearner:
    """SGD on a reconstruction loss (selection paper, section 4.2); if the loss has a critic, the critic takes its step first.

    Args:
        network: images in 0..1 -> images or, in training, (images, penalty []), which is added to the loss.
        loss: from `dsopt.losses.reconstruction`.
        critic: the loss's critic, or None. It is trained with Adam as in Gulrajani et al. 2017 (arXiv:1704.00028, alg. 1).
        sync_batch_norm: see `dsopt.learners.placement.place`.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: ReconstructionLoss,
        critic: nn.Module | None,
        *,
        learning_rate: float,
        momentum: float,
        precision: Precision,
        device: torch.device,
        world: int = 1,
        sync_batch_norm: bool = False,
    ) -> None:
        self.device, self.dtype, self.loss, self.world = device, compute_dtype(precision, device, half=True), loss, world
        self.scaler = scaler(self.dtype, device)
        self.networks: dict[str, nn.Module] = {"autoencoder": place(network, device, world, sync_batch_norm)}
        sgd = torch.optim.SGD(network.parameters(), learning_rate, momentum=momentum, fused=True)
        self.optimizers: dict[str, torch.optim.Optimizer] = {"autoencoder": sgd}
        if critic is not None:
            self.networks["critic"] = place(critic, device, world, sync_batch_norm)
            self.optimizers["critic"] = torch.optim.Adam(critic.parameters(), 1e-4, betas=(0.0, 0.9))

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step on the batch. Returns {"loss": before it}, its {"penalty"} if it has one, and with a critic {"critic_loss"}."""
        with autocast(self.dtype, self.device):
            output = self.networks["autoencoder"](batch.images)
        output, penalty = output if isinstance(output, tuple) else (output, None)
        output = output.float()

        metrics = self._update_critic(output.detach(), batch) if "critic" in self.networks else {}
        # DistributedDataParallel would wait for gradients of the critic, which this loss does not compute.
        critic = unwrapped(self.networks["critic"]).requires_grad_(False) if "critic" in self.networks else None
        loss = self.loss.autoencoder(output, batch.images, critic)
        if penalty is not None:
            loss, metrics = loss + penalty, {**metrics, "penalty": penalty.detach()}
        minimize(loss, self.optimizers["autoencoder"], self.scaler)
        return {"loss": loss.detach(), **metrics}

    def _update_critic(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        assert self.loss.critic is not None
        critic = self.networks["critic"].requires_grad_(True)
        u = torch.rand(len(output) * self.world, generator=torch.Generator().manual_seed(batch.seed))
        loss = self.loss.critic(output, batch.images, critic, moved(local_part(u, self.world), self.device))
        minimize(loss, self.optimizers["critic"])
        return {"critic_loss": loss.detach()}

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """{"squared_error": the mean over all elements}."""
        network = unwrapped(self.networks["autoencoder"]).eval()
        error, count = 0.0, 0
        for batch in batches:
            with autocast(self.dtype, self.device):
                output = network(batch.images)
            error += float((output.float() - batch.images).square().sum())
            count += batch.images.numel()
        network.train()
        return {"squared_error": error / count}

    def state_dict(self) -> dict[str, Any]:
        return pack(self.networks, self.optimizers, self.scaler)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        unpack(state, self.networks, self.optimizers, self.scaler)
