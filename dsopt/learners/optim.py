"""Steps of torch's optimisers, without its compiler.

They import it when they are made and when they step, for those who compile them. Nobody does here, and it takes every process that
trains 2 s of a processor, nearly as much as torch itself.
"""

import inspect

import torch
from torch import Tensor
from torch.optim import Optimizer

for method in vars(Optimizer).values():
    plain = getattr(method, "__wrapped__", None)
    if plain is not None:
        plain.__dynamo_disable = plain  # where torch keeps what its compiler made of a method, to be used from then on


def step(optimizer: Optimizer) -> None:
    """One step by the gradients that its parameters have; hooks and profiles of steps are left out."""
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def minimise(loss: Tensor, optimizer: Optimizer) -> None:
    """One step of an optimiser down the gradients of a loss []."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    loss.backward()
    step(optimizer)
