"""Convolution, ReLU and 2x2 max pooling fused for CPUs, with derivatives of any order that touch only the selected outputs."""

import ctypes
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from dsopt import native

REAL = {torch.float32: "float", torch.float64: "double"}
PART = 32  # images a thread, at least
CHANNELS_LAST = torch.channels_last

ImageTensor = Float[Tensor, "n ci h w"]
Weights = Float[Tensor, "co ci k k"]
Bias = Float[Tensor, " co"]
Outputs = Float[Tensor, "n co p q"]
Places = UInt8[Tensor, "n p q co"]  # which output of each window is its maximum: 0 to 3, or 4 if none is above 0


class Pooled(nn.Sequential):
    """`nn.Sequential`, but every `Conv2d`, `ReLU` and `MaxPool2d(2)` in a row run as one kernel if there is a C compiler.

    One of the four outputs in a window survives the pooling. torch computes ReLU and pooling over all of them, which takes longer
    than the convolution if there are few channels. The kernel computes in float32 even under autocast: bfloat16 takes 1.2 to
    1.7 times as long. On other devices, and for convolutions with padding or strides, the modules are applied one by one.
    Parameters and their names are those of the modules.
    """

    def forward(self, input: Tensor) -> Tensor:
        modules = list(self)
        while modules:
            library = _library(input, modules)
            if library is None:
                input = modules.pop(0)(input)
            else:
                w: Any = modules[0].weight
                input = _Pool.apply(input.to(w.dtype), w, modules[0].bias, library)  # pyright: ignore[reportAssignmentType]
                del modules[:3]
        return input


def _library(x: Tensor, modules: list[nn.Module]) -> ctypes.CDLL | None:
    """The compiled kernel for the first three modules, or None if they are not such modules."""
    if len(modules) < 3 or x.device.type != "cpu" or torch.compiler.is_exporting() or is_in_torch_dispatch_mode():
        return None  # other programs know no kernel of ours, and who looks on at torch's operations does not see it
    layer, relu, pool = modules[:3]
    if not (isinstance(layer, nn.Conv2d) and isinstance(relu, nn.ReLU) and isinstance(pool, nn.MaxPool2d)):
        return None
    k = layer.kernel_size[0]
    convolution = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.bias is None)
    if convolution != ((k, k), (1, 1), (0, 0), (1, 1), 1, False):
        return None
    dtype = layer.weight.dtype
    if dtype not in REAL or x.dtype not in ([dtype, torch.bfloat16] if torch.is_autocast_enabled("cpu") else [dtype]):
        return None
    if x.ndim != 4 or x.shape[1] != layer.in_channels or min(x.shape[2:]) <= k:  # torch raises the error
        return None
    pooling = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.return_indices, pool.ceil_mode)
    if pooling != (2, 2, 0, 1, False, False):
        return None
    return _compiled(k, layer.in_channels, layer.out_channels, REAL[dtype])


@functools.cache
def _compiled(k: int, channels_in: int, channels_out: int, real: str) -> ctypes.CDLL | None:
    library = native.library(Path(__file__).with_suffix(".c"), K=k, CI=channels_in, CO=channels_out, REAL=real)
    for name in ("forward", "outputs", "to_images", "to_weights") if library else ():
        getattr(library, name).argtypes = [ctypes.c_void_p] * 5 + [ctypes.c_long] * 3
    return library


class _Pool(torch.autograd.Function):
    """y = max(0, the largest of x * w + bias in each window)."""

    @staticmethod
    def forward(ctx: Any, x: ImageTensor, w: Weights, bias: Bias, library: ctypes.CDLL) -> Outputs:
        (n, _, height, width), (co, _, k, _) = x.shape, w.shape
        y = _empty((n, co, (height - k + 1) // 2, (width - k + 1) // 2), x)
        where = torch.empty(y.permute(0, 2, 3, 1).shape, dtype=torch.uint8)
        lanes = (0, -co % 8)  # output channels are padded to whole vectors of 8
        _run(library.forward, x, [F.pad(w.permute(2, 3, 1, 0), lanes).contiguous()], [F.pad(bias, lanes).contiguous()], y, where)
        ctx.save_for_backward(x, w, where)
        ctx.library = library
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(ctx, gradients[0]), None


# For fixed places the outputs are bilinear in images and weights, and so are the gradients. The three maps below are one another's
# derivatives, so that derivatives of any order consist of them.


class _Outputs(torch.autograd.Function):
    """x * w + bias at the given places."""

    @staticmethod
    def forward(ctx: Any, x: ImageTensor, w: Weights, bias: Bias, where: Places, library: ctypes.CDLL) -> Outputs:
        n, high, wide, co = where.shape
        y = _empty((n, co, high, wide), x)
        _run(library.outputs, x, [w.contiguous(memory_format=CHANNELS_LAST)], [bias.contiguous()], y, where)
        ctx.save_for_backward(x, w, where)
        ctx.library = library
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(ctx, gradients[0]), None, None


class _ToImages(torch.autograd.Function):
    """The gradient of <g, x * w + bias at the places> with respect to x."""

    @staticmethod
    def forward(ctx: Any, g: Outputs, w: Weights, where: Places, shape: torch.Size, library: ctypes.CDLL) -> ImageTensor:
        x, unused = _empty(shape, g), w
        _run(library.to_images, x, [w.contiguous(memory_format=CHANNELS_LAST)], [unused], g, where)
        ctx.save_for_backward(g, w, where)
        ctx.library = library
        return x

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (v,), (g, w, where) = cotangents, ctx.saved_tensors
        by_g = _Outputs.apply(v, w, v.new_zeros(len(w)), where, ctx.library) if ctx.needs_input_grad[0] else None
        by_w = _to_weights(g, v, where, w.shape, ctx.library)[0] if ctx.needs_input_grad[1] else None
        return by_g, by_w, None, None, None  # pyright: ignore[reportReturnType]


class _ToWeights(torch.autograd.Function):
    """The gradients of <g, x * w + bias at the places> with respect to w and bias."""

    @staticmethod
    def forward(
        ctx: Any, g: Outputs, x: ImageTensor, where: Places, shape: torch.Size, library: ctypes.CDLL
    ) -> tuple[Weights, Bias]:
        parts = _edges(len(x))[1:]
        w, bias = [_empty(shape, g) for _ in parts], [g.new_empty(shape[0]) for _ in parts]
        _run(library.to_weights, x, w, bias, g, where)
        ctx.save_for_backward(g, x, where)
        ctx.library = library
        return sum(w[1:], w[0]), sum(bias[1:], bias[0])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (u, t), (g, x, where) = cotangents, ctx.saved_tensors
        by_g = _Outputs.apply(x, u, t, where, ctx.library) if ctx.needs_input_grad[0] else None
        by_x = _ToImages.apply(g, u, where, x.shape, ctx.library) if ctx.needs_input_grad[1] else None
        return by_g, by_x, None, None, None  # pyright: ignore[reportReturnType]


def _to_weights(g: Outputs, x: ImageTensor, where: Places, shape: torch.Size, library: ctypes.CDLL) -> tuple[Weights, Bias]:
    return _ToWeights.apply(g, x, where, shape, library)  # pyright: ignore[reportReturnType]


def _gradients(ctx: Any, g: Outputs) -> tuple[ImageTensor | None, Weights | None, Bias | None]:
    """The requested gradients of <g, x * w + bias at the places> with respect to x, w and bias."""
    x, w, where = ctx.saved_tensors
    by_x = _ToImages.apply(g, w, where, x.shape, ctx.library) if ctx.needs_input_grad[0] else None
    by_w, by_bias = _to_weights(g, x, where, w.shape, ctx.library) if any(ctx.needs_input_grad[1:3]) else (None, None)
    return by_x, by_w, by_bias  # pyright: ignore[reportReturnType]


def _empty(shape: Sequence[int], like: Tensor) -> Float[Tensor, "..."]:
    return torch.empty(shape, dtype=like.dtype, memory_format=CHANNELS_LAST)


def _edges(images: int) -> list[int]:
    """Where the part of each thread begins and ends."""
    parts = max(1, min(torch.get_num_threads(), images // PART))
    return [images * part // parts for part in range(parts + 1)]


def _run(kernel: Any, x: Tensor, w: Sequence[Tensor], bias: Sequence[Tensor], y: Tensor, where: Tensor) -> None:
    """Run a kernel on the images of every thread. `w` and `bias` hold one tensor for all threads, or one for each."""
    x, y = x.contiguous(memory_format=CHANNELS_LAST), y.contiguous(memory_format=CHANNELS_LAST)
    (_, _, height, width), edges = x.shape, _edges(len(x))
    addresses = [(value.data_ptr(), value.stride(0) * value.element_size()) for value in (x, y, where)]

    def run(part: int) -> None:
        first, last = edges[part], edges[part + 1]
        at_x, at_y, at_where = (address + first * bytes_each for address, bytes_each in addresses)
        at_w, at_bias = w[part % len(w)].data_ptr(), bias[part % len(bias)].data_ptr()
        kernel(at_x, at_w, at_bias, at_y, at_where, last - first, height, width)

    if len(edges) == 2:
        run(0)
    else:
        list(_threads().map(run, range(len(edges) - 1)))  # in parallel: ctypes releases the interpreter lock


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="pooled")
