"""Optimizer steps without torch's compiler.

torch.optim imports the compiler when an optimizer is created and when it steps, for users who compile these. Nothing is compiled
here, and the import costs every training process 2 s of CPU time, nearly as much as torch itself.
"""

import inspect
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

Scaler = torch.amp.GradScaler  # pyright: ignore[reportPrivateImportUsage]

for method in vars(Optimizer).values():
    plain = getattr(method, "__wrapped__", None)
    if plain is not None:
        # torch's wrapper looks here for the method that it excluded from compilation, and imports the compiler if there is none.
        plain.__dynamo_disable = plain


def step(optimizer: Optimizer) -> None:
    """One step with the gradients that the parameters have; without the hooks and profiling of torch's own `step`."""
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def minimize(loss: Tensor, optimizer: Optimizer, scaler: Scaler | None = None) -> None:
    """One optimizer step along the gradients of a loss [], which a scaler scales for them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    if scaler is None:
        loss.backward()
        step(optimizer)
        return
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()


def set_gradients(parameters: Iterable[Tensor], gradients: Iterable[Tensor]) -> None:
    """Give every parameter its gradient, in the memory layout of the parameter.

    torch's fused optimizers pair a parameter with its gradient by position in memory. A contiguous gradient of a channels-last
    weight would move the wrong elements on a CPU; CUDA refuses it.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter)
        parameter.grad.copy_(gradient)
