"""What the images of a synthetic set are made from, and learned as: pixels, or what a trained generator makes images of."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.distillation.contract import Generator, Problem, Stored
from dsopt.distillation.synthetic import Init, chosen, labels, noise_images
from dsopt.errors import InputError
from dsopt.registry import STORED
from dsopt.seeds import derive


def stored(*, generated: bool = False) -> Callable[..., Any]:
    """Enter a way of storing, `(problem, init, *, options) -> Stored`. `generated`: by a trained generator, told classes."""
    return STORED.register(generated=generated)


def begin(problem: Problem, init: Init) -> Stored:
    """The first images of a set, as the problem would have them stored."""
    name, options = problem.stored
    return STORED.build(name, options)(problem, init)


@stored()
def pixels(problem: Problem, init: Init) -> Stored:
    """Every image by its own numbers."""
    return _of(_pixels(problem, init), labels(problem), lambda images: images)


@stored()
def formations(problem: Problem, init: Init, *, factor: int = 2) -> Stored:
    """Each stored image is a square of `factor` x `factor` smaller ones, which are enlarged: as many numbers, more images.

    The uniform formation of IDC (Kim et al. 2022, arXiv:2205.14959); real images to start from are made smaller first.

    Raises:
        InputError: the side of the images is not a multiple of `factor`.
    """
    side = problem.inputs(problem.images[:1]).shape[-1]
    if factor < 2 or side % factor:
        raise InputError(f"distill.stored: formations: options.factor={factor}: must be 2 or more and divide {side} pixels.")
    small = side // factor

    def make(images: Tensor) -> Tensor:
        rows = [row.split(small, 3) for row in images.split(small, 2)]
        parts = torch.cat([part for row in rows for part in row])
        return F.interpolate(parts, (side, side), mode="bilinear", align_corners=False)

    start = _pixels(problem, init)
    if init != "noise":
        parts = F.interpolate(chosen(problem, init, factor**2).images, (small, small), mode="area").chunk(factor**2)
        start = torch.cat([torch.cat(parts[i : i + factor], 3) for i in range(0, factor**2, factor)], 2)
    return _of(start, labels(problem).repeat(factor**2), make)


@stored(generated=True)
def latent(problem: Problem, init: Init, *, sphere: bool = False) -> Stored:
    """What a generator makes of points of its latent space (the thesis's section 4.3), which start where its noise lies.

    Args:
        sphere: keep every point at the length that noise has (of normal noise, the square root of its dimension). Without it
            descent goes where the generator never learned to make images, as the thesis supposes of its own.
    """
    generator, classes = _generator(problem), labels(problem)
    points = _noise(problem, generator)

    def settle(points: Tensor) -> None:
        if sphere:
            points.mul_(generator.length / points.norm(dim=1, keepdim=True).clamp_min(1e-12))

    settle(points)
    return _of(points, classes, lambda points: generator.inputs(generator.network(points, classes)), settle)


@stored(generated=True)
def layer(problem: Problem, init: Init, *, module: str) -> Stored:
    """What the rest of a generator makes of the output of one of its modules, which starts as that of noise (GLaD, Cazenavette et
    al. 2023, arXiv:2305.01649).

    Args:
        module: its name in the network, such as `blocks.0` of `sngan_generator` or `dense` of `infogan_generator`.

    Raises:
        InputError: the generator has no such module, or it makes no tensor.
    """
    generator, classes = _generator(problem), labels(problem)
    noise = _noise(problem, generator)

    def through(hooks: dict[str, Callable[[Any], Any]]) -> Tensor:
        """Images, where the hook of a module sees, and may replace, what that made."""
        network = generator.network
        handles = [network.get_submodule(n).register_forward_hook(lambda _, given, made, h=h: h(made)) for n, h in hooks.items()]
        try:
            return network(noise, classes)
        finally:
            for handle in handles:
                handle.remove()

    found: dict[str, Any] = {}
    with torch.no_grad():
        through({name: functools.partial(found.__setitem__, name) for name, _ in generator.network.named_modules() if name})
    valid = [name for name, made in found.items() if isinstance(made, Tensor)]
    if module not in valid:
        raise InputError(f"distill.stored: layer: options.module={module}: valid: {', '.join(valid)}.")
    return _of(found[module], classes, lambda outputs: generator.inputs(through({module: lambda _: outputs})))


def _stay(leaf: Tensor) -> None: ...


def _of(start: Tensor, labels: Tensor, make: Callable[[Tensor], Tensor], settle: Callable[[Tensor], None] = _stay) -> Stored:
    return Stored(start.detach().clone().requires_grad_(), labels, make, settle)


def _pixels(problem: Problem, init: Init) -> Tensor:
    return noise_images(problem) if init == "noise" else chosen(problem, init).images


def _generator(problem: Problem) -> Generator:
    assert problem.generator is not None, "its stage makes one"
    return problem.generator


def _noise(problem: Problem, generator: Generator) -> Tensor:
    random = torch.Generator().manual_seed(derive(problem.seed, "synthetic"))
    return generator.noise(problem.per_class * problem.classes, random).to(problem.device)
