"""What all learners need: numeric precision, distribution over workers, and their state as one dictionary."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from dsopt.learners.batch_norm import synchronized
from dsopt.learners.optim import Scaler
from dsopt.progress import say

Precision = Literal["auto", "bf16", "fp16", "fp32"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TENSOR_CORES = (7, 0)  # the compute capability from which GPUs are fast in float16


def compute_dtype(precision: Precision, device: torch.device, half: bool = False) -> torch.dtype:
    """What is requested; with "auto" bfloat16 if the hardware has fast arithmetic for it; float32 otherwise.

    Args:
        half: with "auto", take float16 on a GPU that is fast in it and not in bfloat16; for those who scale losses (`scaler`).
    """
    if precision != "auto":
        if precision == "bf16" and not _fast_in_bfloat16(device):
            _tell_emulated()
        return DTYPES[precision]
    if _fast_in_bfloat16(device):
        return torch.bfloat16
    fast_in_half = half and device.type == "cuda" and torch.cuda.get_device_capability(device) >= TENSOR_CORES
    return torch.float16 if fast_in_half else torch.float32


def _fast_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Private probes of torch: where a version lacks one, `bool` stands in, which returns False.
    return any(getattr(torch.cpu, probe, bool)() for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


@functools.cache
def _tell_emulated() -> None:
    """Once a process. On an AMD EPYC with AVX2, the selection paper's classifier takes 7 times as long as in float32."""
    say("precision", "bf16 is emulated here, and several times slower than fp32; precision=auto takes what is fast")


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    low = dtype != torch.float32
    return torch.autocast(device.type, dtype=dtype if low else torch.bfloat16, enabled=low)


def scaler(dtype: torch.dtype, device: torch.device) -> Scaler | None:
    """What scales a loss for its gradients to be numbers of float16, and leaves out steps where they are not; None without need."""
    return Scaler(device.type) if dtype == torch.float16 else None


def arithmetic(dtype: torch.dtype, device: torch.device) -> str:
    """How a network of this type was computed, for a manifest; see `dsopt.training.worker.set_arithmetic`."""
    convolutions = ", convolutions in TF32" if dtype == torch.float32 and device.type == "cuda" else ""
    return str(dtype).removeprefix("torch.") + convolutions


def place(network: nn.Module, device: torch.device, world: int = 1, sync_batch_norm: bool = False) -> nn.Module:
    """The network on its device, channels-last; with several workers, wrapped so that gradients are averaged over them.

    Args:
        sync_batch_norm: whether its batch normalization is over the images of all workers.
    """
    network = _located(network, device, world, sync_batch_norm)
    if world == 1:
        return network
    for buffer in network.buffers():
        if buffer.is_contiguous():  # of one channel, in both layouts: torch takes its broadcast from itself for a partial overlap
            buffer.data = buffer.data.view(-1).view(buffer.shape)
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def replica(network: nn.Module, device: torch.device, world: int = 1, sync_batch_norm: bool = False) -> nn.Module:
    """As `place`, but not wrapped: the first worker's weights and batch statistics, and gradients that are not averaged yet."""
    network = _located(network, device, world, sync_batch_norm)
    for value in network.state_dict().values() if world > 1 else ():
        dist.broadcast(value, 0)
    return network


def _located(network: nn.Module, device: torch.device, world: int, sync_batch_norm: bool) -> nn.Module:
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if hasattr(module, "world"):  # what it computes of a batch is of all workers' parts
            module.world = world  # pyright: ignore[reportArgumentType]
    return synchronized(network, device) if sync_batch_norm and world > 1 else network


def unwrapped(network: nn.Module) -> Any:
    """The network itself, without DistributedDataParallel."""
    return network.module if isinstance(network, DistributedDataParallel) else network


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


def pack(
    networks: Mapping[str, nn.Module], optimizers: Mapping[str, Any], scaler: Scaler | None = None, **more: Any
) -> dict[str, Any]:
    """The whole state of a learner; networks without DistributedDataParallel, so that any number of workers can load it."""
    return {
        "networks": {name: unwrapped(network).state_dict() for name, network in networks.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        **({"scaler": scaler.state_dict()} if scaler else {}),
        **more,
    }


def unpack(
    state: Mapping[str, Any], networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], scaler: Scaler | None = None
) -> None:
    """Restore what `pack` returned."""
    for name, network in networks.items():
        unwrapped(network).load_state_dict(state["networks"][name])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    if scaler:
        scaler.load_state_dict(state["scaler"])
