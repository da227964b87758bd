"""Two processes with gloo, without Ray: the same images as from one, which draws the same."""

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from small import batch, problem
from torch.multiprocessing.spawn import spawn

from dsopt.distillation.dd import dd
from dsopt.distillation.frepo import frepo

pytestmark = pytest.mark.slow


def half(step: int, rank: int, world: int):
    whole = batch(step, 40)
    size = len(whole.labels) // world
    mine = slice(rank * size, (rank + 1) * size)
    return whole._replace(images=whole.images[mine], labels=whole.labels[mine])


def learn(rank: int, world: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The images after some steps, and the mean gradients of the first step, the largest of each method 1.

    Where all layers are fixed, or the pool is shared, workers differ in their real images alone. Ten images have eight features
    here: without a firm ridge, rounding would be all that their kernel tells.
    """
    regression = frepo(problem(world=world), pool=2, strength=0.1)
    thesis = dd(problem(world=world), fixed_layers=3, rate=0.1)
    gradients = []
    for step in range(3):
        for method, images in ((thesis, thesis.stored.leaf), (regression, regression.stored.leaf)):
            method.update(half(step, rank, world))
            gradients.append(images.grad.clone())
    return torch.stack([thesis.synthetic().images, regression.synthetic().images]), torch.stack(
        [gradient / gradient.abs().max() for gradient in gradients[:2]]
    )


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=240))
    torch.save(learn(rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_step_as_one_does(tmp_path: Path) -> None:
    """Gradients, not images, are compared with one worker's: Adam makes whole steps of what rounding leaves of zeros."""
    spawn(_worker, (str(tmp_path),), nprocs=2)
    (images, gradients), (others, _) = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(images, others)
    torch.testing.assert_close(gradients, learn(0, 1)[1], rtol=1e-3, atol=1e-4)
