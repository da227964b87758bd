"""What all learners need: numeric precision, distribution over workers, and their state as one dictionary."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dsopt.learners.batch_norm import synchronized

Precision = Literal["auto", "bf16", "fp32"]


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """bfloat16 if requested or, with "auto", if the hardware has fast bfloat16 arithmetic; float32 otherwise."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # Private probes of torch: where a version lacks one, `bool` stands in, which returns False.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return torch.bfloat16 if fast else torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def place(network: nn.Module, device: torch.device, world: int = 1, sync_batch_norm: bool = False) -> nn.Module:
    """The network on its device, channels-last; with several workers, wrapped so that gradients are averaged over them.

    Args:
        sync_batch_norm: whether its batch normalization is over the images of all workers.
    """
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if world == 1:
        return network
    network = synchronized(network, device) if sync_batch_norm else network
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def unwrapped(network: nn.Module) -> Any:
    """The network itself, without DistributedDataParallel."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def broadcast(network: nn.Module, world: int) -> nn.Module:
    """The network with the first worker's weights and batch statistics, on every worker."""
    for value in network.state_dict().values() if world > 1 else ():
        dist.broadcast(value, 0)
    return network


def rank(world: int) -> int:
    """The number of this worker among `world` workers."""
    return dist.get_rank() if world > 1 else 0


def local_part(values: Float[Tensor, "n *of"], world: int) -> Float[Tensor, "b *of"]:
    """This worker's rows of random values that all workers draw identically for the whole batch.

    So several workers use the values that a single one would use, and take the same step.
    """
    count = len(values) // world
    return values[rank(world) * count :][:count]


def whole(part: Shaped[Tensor, "b *of"], world: int) -> Shaped[Tensor, "n *of"]:
    """The rows of all workers' parts of a batch, in its order: for what is no mean over the images of a batch.

    The gradient of this worker's rows is `world` times as large, so that the mean of the workers' gradients is that of one worker
    with the whole batch.
    """
    if world == 1:
        return part
    sizes = torch.zeros(world, dtype=torch.int64, device=part.device)
    sizes[rank(world)] = len(part)
    dist.all_reduce(sizes)
    before, own, after = (sum(some) for some in _around(sizes.tolist(), rank(world)))
    rows = part.new_zeros(before + own + after, *part.shape[1:])  # parts may differ in length, which all_gather does not allow
    rows[before : before + own] = part.detach()
    dist.all_reduce(rows)
    if not part.requires_grad:
        return rows
    mine = part.detach() + world * (part - part.detach())
    return torch.cat([rows[:before], mine, rows[before + own :]])


def _around(values: list[int], place: int) -> tuple[list[int], list[int], list[int]]:
    return values[:place], values[place : place + 1], values[place + 1 :]


def average_gradients(gradients: Sequence[Tensor], world: int) -> list[Tensor]:
    """Gradients averaged over the workers, in one message; contiguous, whatever the layout of the originals."""
    if world == 1:
        return list(gradients)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = (flat / world).split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]


def pack(networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], **more: Any) -> dict[str, Any]:
    """The whole state of a learner; networks without DistributedDataParallel, so that any number of workers can load it."""
    return {
        "networks": {name: unwrapped(network).state_dict() for name, network in networks.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        **more,
    }


def unpack(state: Mapping[str, Any], networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> None:
    """Restore what `pack` returned."""
    for name, network in networks.items():
        unwrapped(network).load_state_dict(state["networks"][name])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
