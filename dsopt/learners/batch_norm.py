"""Batch normalization over the images of all workers."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """`nn.SyncBatchNorm` for CPUs: torch's is for GPUs alone."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any that batch normalization of any number of dimensions takes."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        among = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        values = input.float()
        count = values.new_full((1,), values.numel() // values.shape[1])
        *total, count = _Summed.apply(torch.cat([values.sum(among), count])).split([values.shape[1], 1])
        mean = total[0] / count
        centered = values - mean.view(shape)
        # A sum of its own: the difference of the mean square and the squared mean would lose small variances.
        variance = _Summed.apply(centered.square().sum(among)) / count
        self._remember(mean.detach(), (variance * count / (count - 1).clamp_min(1)).detach())
        found = centered * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return found.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics, as `nn.BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(variance, part)


class _Summed(torch.autograd.Function):
    """The sum over all workers; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def synchronized(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, changed in place: its batch normalizations take the statistics of the images of all workers."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if isinstance(network, _BatchNorm):
        found = SyncBatchNorm(network.num_features, network.eps, network.momentum, network.affine, network.track_running_stats)
        found._parameters, found._buffers = network._parameters, network._buffers
        return found.train(network.training)
    for name, child in network.named_children():
        setattr(network, name, synchronized(child, device))
    return network
