"""A pretended GPU: tensors in ordinary memory that know whether the program put them on "cuda".

It shows, on a machine without a GPU, what a GPU would refuse (operations that mix devices, gradients that are not laid out like
their weights) and where the host would wait for it: `.item()`, `nonzero`, masks as indices, copies back. Numbers are those of the
CPU. It says nothing of speed. Of tensors that torch makes within a call, such as the zeros of a gradient, it does not know where
they would lie: these mix with both.
"""

import collections
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)

# Results whose size or value the host must know, so that it waits for all work before them.
WAITING = {
    *("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.bincount", "aten._unique2"),
    *("aten.unique_dim", "aten.unique_consecutive", "aten.repeat_interleave.Tensor", "aten.equal"),
}
COPIES = {"aten.copy_", "aten._to_copy", "aten.copy"}
INDEXING = {"aten.index", "aten.index_put_", "aten.index_put", "aten._unsafe_index"}  # a GPU's tensor takes indices of the CPU
CREATING = {
    "zeros",
    "ones",
    "empty",
    "full",
    "arange",
    "linspace",
    "eye",
    "rand",
    "randn",
    "randint",
    "randperm",
    "tensor",
    "as_tensor",
}
FROM_DATA = {"tensor", "as_tensor"}  # on the CPU, and then copied
FUSED = {"aten._fused_adam_", "aten._fused_adamw_", "aten._fused_sgd_"}


class PretendedGpu:
    """What happened on the GPU, while `pretend()` runs.

    Attributes:
        mixed: operations that a GPU refuses, each with the line of dsopt that called it.
        waits: how often the host waited, by operation and line.
        calls: operations on the GPU.
    """

    def __init__(self) -> None:
        self.mixed: list[str] = []
        self.waits: collections.Counter[str] = collections.Counter()
        self.calls = 0
        self.function = ""  # of torch, that the program called
        self._storages: dict[int, Any] = {}  # kept, so that no other storage takes the place of one in memory
        self._anywhere: dict[int, Any] = {}  # made by torch within a call

    @contextmanager
    def pretend(self) -> Iterator["PretendedGpu"]:
        with _Functions(self), _Operations(self):
            yield self

    def forget(self) -> None:
        """Count anew."""
        self.mixed.clear()
        self.waits.clear()
        self.calls = 0

    def holds(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata in self._storages

    def wait(self, why: str) -> None:
        if self.function != "one_hot":  # it looks at its values on CPUs alone
            self.waits[f"{why}: {_line()}"] += 1

    def make(self, tensor: Tensor) -> None:
        """Note a tensor that is made of no other, perhaps by torch itself."""
        if self.function not in CREATING:
            storage = tensor.untyped_storage()
            self._anywhere.setdefault(storage._cdata, storage)

    def _on_cpu(self, tensor: Any) -> bool:
        known = isinstance(tensor, Tensor) and tensor.ndim > 0 and not self.holds(tensor)
        return known and tensor.untyped_storage()._cdata not in self._anywhere

    def take(self, tensor: Tensor) -> Tensor:
        """Put a tensor's memory on the GPU."""
        storage = tensor.untyped_storage()
        self._storages.setdefault(storage._cdata, storage)
        return tensor

    def give(self, tensor: Tensor) -> Tensor:
        """A copy on the CPU, for which the host waits."""
        self.wait("copy to the host")
        found = tensor.clone(memory_format=torch.preserve_format)
        self._storages.pop(found.untyped_storage()._cdata, None)
        return found

    def watch(self, name: str, arguments: Sequence[Any]) -> None:
        """Look at an operation before it runs, of which at least one argument is on the GPU."""
        self.calls += 1
        indexed = name in INDEXING and self.holds(arguments[0])
        elsewhere = list(filter(self._on_cpu, tree_leaves(arguments[2:3] if indexed else arguments)))
        if elsewhere and name not in COPIES:
            self.mixed.append(f"{name} {[tuple(tensor.shape) for tensor in elsewhere]} of the CPU: {_line()}")
        masks = [index for index in arguments[1] or [] if index is not None and index.dtype == torch.bool] if indexed else []
        if name in WAITING or masks:
            self.wait(name)
        if name == "aten.copy_" and self._on_cpu(arguments[0]):
            self.wait("copy to the host")
        if indexed and any(map(self._on_cpu, arguments[1] or [])):
            self.wait("copy of indices to the device")
        if name in FUSED:
            pairs = zip(arguments[0], arguments[1], strict=True)
            odd = [p for p, g in pairs if any(n > 1 and a != b for n, a, b in zip(p.shape, p.stride(), g.stride(), strict=True))]
            self.mixed += [f"{name}: a gradient is not laid out like its weight {tuple(p.shape)}: {_line()}" for p in odd]


class _Operations(TorchDispatchMode):
    """Every operation that torch carries out: whose results lie where its arguments lie."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = str(func).rpartition(".")[0]
        name = str(func) if str(func) in WAITING else name
        there = any(map(self.gpu.holds, tree_leaves((args, kwargs))))
        if there:
            self.gpu.watch(name, args)
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and not any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
            self.gpu.make(found)
        if there and name != "aten.copy_":
            for leaf in tree_leaves(found):
                if isinstance(leaf, Tensor):
                    self.gpu.take(leaf)
        return found


class _Functions(TorchFunctionMode):
    """What a program says of devices: where it makes tensors, moves them to, and asks them to be."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        before, self.gpu.function = self.gpu.function, getattr(func, "__name__", "")
        try:
            return self._called(func, args, dict(kwargs or {}))
        finally:
            self.gpu.function = before

    def _called(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = self.gpu.function
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]  # made anew at each look: not `is`
            return CUDA if self.gpu.holds(args[0]) else func(*args, **kwargs)
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return self.gpu.holds(args[0])
        if name in ("to", "cuda", "cpu"):
            return self._moved(name, args[0], args[1:], kwargs)
        if name == "pin_memory":
            return args[0].clone(memory_format=torch.preserve_format)
        if kwargs.get("device") is None or torch.device(kwargs["device"]).type != "cuda":
            return func(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != "cuda":
            self.gpu.mixed.append(f"{name} with a generator of the CPU: {_line()}")
        if name in FROM_DATA:
            self.gpu.wait("copy to the device, which is not told to go on")
        return self.gpu.take(func(*args, **kwargs | {"device": "cpu"}))

    def _moved(self, name: str, tensor: Tensor, arguments: Sequence[Any], options: dict[str, Any]) -> Tensor:
        target, rest, going_on = {"cuda": CUDA, "cpu": torch.device("cpu")}.get(name), [], options.pop("non_blocking", False)
        for argument in arguments:
            if isinstance(argument, str | torch.device):
                target = torch.device(argument)
            elif isinstance(argument, Tensor):
                target, rest = CUDA if self.gpu.holds(argument) else torch.device("cpu"), [*rest, argument.dtype]
            elif isinstance(argument, torch.dtype):
                rest.append(argument)
            elif isinstance(argument, bool):
                going_on = argument
        target = torch.device(options.pop("device")) if options.get("device") is not None else target
        found = Tensor.to(tensor, *rest, **options) if rest or options else tensor
        if target is None or (target.type == "cuda") == self.gpu.holds(tensor):
            return found
        if target.type == "cpu":
            return self.gpu.give(found)
        if not going_on:
            self.gpu.wait("copy to the device, which is not told to go on")
        same = found.untyped_storage()._cdata == tensor.untyped_storage()._cdata
        return self.gpu.take(found.clone(memory_format=torch.preserve_format) if same else found)


def _line() -> str:
    """The innermost line of dsopt that is being run."""
    for frame in reversed(traceback.extract_stack()):
        if "/dsopt/" in frame.filename:
            return f"{frame.filename.rpartition('/dsopt/')[2]}:{frame.lineno} {frame.name}"
    return "elsewhere"
