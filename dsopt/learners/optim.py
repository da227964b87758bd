"""Steps of torch's optimisers, without its compiler.

They import it when they are made and when they step, for those who compile them. Nobody does here, and it takes every process that
trains 2 s of a processor, nearly as much as torch itself.
"""

import inspect
from collections.abc import Iterable

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


def set_gradients(parameters: Iterable[Tensor], gradients: Iterable[Tensor]) -> None:
    """Give every parameter its gradient, in the memory layout of the parameter.

    torch's fused optimizers pair a parameter with its gradient by position in memory. A contiguous gradient of a channels-last
    weight would move the wrong elements on a CPU; CUDA refuses it.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)
        parameter.grad.copy_(gradient)
