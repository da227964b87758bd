"""Steps are torch's own, in every memory layout, and torch's compiler stays away."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from dsopt.distillation.synthetic import descend
from dsopt.learners.optim import minimize, set_gradients, step

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, fused=True),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.1, betas=(0.5, 0.999), fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps_are_those_of_torch(make: Callable[..., Optimizer]) -> None:
    ours, theirs = (torch.linspace(-1, 2, 7).requires_grad_() for _ in range(2))
    us, them = make([ours]), make([theirs])
    for number in range(5):
        minimize((ours**2).sum() * (number + 1), us)
        them.zero_grad()
        ((theirs**2).sum() * (number + 1)).backward()
        them.step()
        assert torch.equal(ours, theirs)
    again = make([ours])
    again.load_state_dict(us.state_dict())
    for optimizer in (again, them):
        (parameter,) = optimizer.param_groups[0]["params"]
        parameter.grad = torch.ones(7)
    step(again)
    them.step()
    assert torch.equal(ours, theirs) and ours.requires_grad


@pytest.mark.slow
def test_training_does_not_import_the_compiler() -> None:
    code = """
import sys, torch
from dsopt.learners.optim import minimize
p = torch.ones(3, requires_grad=True)
for make in (torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop):
    optimizer = make([p], 0.1)
    minimize(p.sum(), optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
