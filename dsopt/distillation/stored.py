"""Parametrizations of a synthetic set: its pixels, or inputs of (a part of) a trained generator."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.distillation.contract import Generator, Problem, Stored
from dsopt.distillation.synthetic import Init, labels, noise_images, select_real
from dsopt.errors import InputError
from dsopt.registry import STORED
from dsopt.seeds import derive


def stored(*, generated: bool = False) -> Callable[..., Any]:
    """Register a parametrization, `(problem, init, *, options) -> Stored`. `generated`: it needs a class-conditional generator."""
    return STORED.register(generated=generated)


def create_stored(problem: Problem, init: Init) -> Stored:
    """The initial synthetic set, in the parametrization that the problem names."""
    name, options = problem.stored
    return STORED.build(name, options)(problem, init)


@stored()
def pixels(problem: Problem, init: Init) -> Stored:
    """Every image by its pixels."""
    return _stored(_pixels(problem, init), labels(problem), lambda images: images)


@stored()
def formations(problem: Problem, init: Init, *, factor: int = 2) -> Stored:
    """Each stored image is a grid of `factor` x `factor` smaller images, which are enlarged: the same storage for more images.

    The uniform multi-formation of IDC (Kim et al. 2022, arXiv:2205.14959). Real initial images are scaled down first.

    Raises:
        InputError: the side of the images is not a multiple of `factor`.
    """
    side = problem.inputs(problem.images[:1]).shape[-1]
    if factor < 2 or side % factor:
        raise InputError(f"distill.stored: formations: options.factor={factor}: must be 2 or more and divide {side} pixels.")
    small = side // factor

    def decode(images: Tensor) -> Tensor:
        rows = [row.split(small, 3) for row in images.split(small, 2)]
        parts = torch.cat([part for row in rows for part in row])
        return F.interpolate(parts, (side, side), mode="bilinear", align_corners=False)

    start = _pixels(problem, init)
    if init != "noise":
        parts = F.interpolate(select_real(problem, init, factor**2).images, (small, small), mode="area").chunk(factor**2)
        start = torch.cat([torch.cat(parts[i : i + factor], 3) for i in range(0, factor**2, factor)], 2)
    return _stored(start, labels(problem).repeat(factor**2), decode)


@stored(generated=True)
def latent(problem: Problem, init: Init, *, sphere: bool = False, l2: float = 0.0) -> Stored:
    """Points of a generator's latent space (the thesis's section 4.3), which start as a sample of its noise.

    Args:
        sphere: keep every point at the norm of the noise (for normal noise, the square root of the latent dimension). Without it
            the points leave the region for which the generator was trained, as the thesis suspects of its own.
        l2: share by which every point shrinks at each step, the thesis's other proposal (section 6.1), as decoupled weight decay.
    """
    if not 0 <= l2 < 1:
        raise InputError(f"distill.stored: latent: options.l2={l2}: must be in [0, 1).")
    generator, classes = _generator(problem), labels(problem)
    points = _noise(problem, generator)

    def project(points: Tensor) -> None:
        points.mul_(1 - l2)
        if sphere:
            points.mul_(generator.noise_norm / points.norm(dim=1, keepdim=True).clamp_min(1e-12))

    if sphere:
        project(points)
    return _stored(points, classes, lambda points: generator.inputs(generator.network(points, classes)), project)


@stored(generated=True)
def layer(problem: Problem, init: Init, *, module: str) -> Stored:
    """Outputs of one of a generator's modules, which the later modules decode (GLaD, Cazenavette et al. 2023, arXiv:2305.01649).

    They start as the outputs for a sample of noise.

    Args:
        module: its name in the network, such as `blocks.0` of `sngan_generator` or `dense` of `infogan_generator`.

    Raises:
        InputError: the generator has no such module, or its output is not a tensor.
    """
    generator, classes = _generator(problem), labels(problem)
    noise = _noise(problem, generator)

    def forward(hooks: dict[str, Callable[[Any], Any]]) -> Tensor:
        """Generated images. The hook of a module receives its output, and replaces it unless it returns None."""
        network, handles = generator.network, []
        for name, hook in hooks.items():
            module = network.get_submodule(name)
            handles.append(module.register_forward_hook(lambda _, inputs, output, hook=hook: hook(output)))
        try:
            return network(noise, classes)
        finally:
            for handle in handles:
                handle.remove()

    outputs: dict[str, Any] = {}
    with torch.no_grad():
        forward({name: functools.partial(outputs.__setitem__, name) for name, _ in generator.network.named_modules() if name})
    valid = [name for name, output in outputs.items() if isinstance(output, Tensor)]
    if module not in valid:
        raise InputError(f"distill.stored: layer: options.module={module}: valid: {', '.join(valid)}.")
    return _stored(outputs[module], classes, lambda leaf: generator.inputs(forward({module: lambda _: leaf})))


@stored()
def averages(problem: Problem, init: Init, *, count: int = 8) -> Stored:
    """Every image a weighted mean of real ones of its class (the thesis, section 5.1); plain means at the start.

    Args:
        count: how many real images each is a mean of.
    """
    real = select_real(problem, "random", count)
    # `select_real` lists image 0 of every class, then image 1: so the means of one synthetic image are `count` rows apart.
    images = real.images.view(count, -1, *real.images.shape[1:]).transpose(0, 1)
    return _stored(
        torch.zeros(images.shape[:2], device=problem.device),
        labels(problem),
        lambda leaf: torch.einsum("mk,mkchw->mchw", leaf.softmax(1), images),
    )


@stored()
def eigenimages(problem: Problem, init: Init, *, count: int = 16) -> Stored:
    """Every image the mean of its class and a combination of eigenimages, eigenvectors of the covariance of images (section 5.1).

    Coefficients are in standard deviations along each; those of real images at the start, or drawn for init=noise.

    Args:
        count: how many eigenimages, those with the largest eigenvalues.
    """
    start, classes = select_real(problem, "random" if init == "noise" else init).images, labels(problem)
    means, vectors, scales = _components(problem, count)
    flat = (start.flatten(1) - means[classes]) @ vectors / scales
    if init == "noise":
        random = torch.Generator().manual_seed(derive(problem.seed, "synthetic"))
        flat = torch.randn(flat.shape, generator=random).to(problem.device)
    return _stored(flat, classes, lambda leaf: (means[classes] + (scales * leaf) @ vectors.T).view_as(start))


def _components(problem: Problem, count: int, most: int = 10_000) -> tuple[Tensor, Tensor, Tensor]:
    """Means of the classes [classes, d], eigenimages [d, count] and deviations along them [count], of up to `most` images."""
    random = torch.Generator().manual_seed(derive(problem.seed, "components"))
    rows = torch.randperm(len(problem.labels), generator=random)[:most]
    images = problem.inputs(problem.images[rows.to(problem.images.device)].to(problem.device)).flatten(1)
    of = problem.labels[rows.to(problem.labels.device)]
    hot = F.one_hot(of, problem.classes).to(images)
    means = hot.T @ images / hot.sum(0)[:, None].clamp_min(1)
    left = images - means[of]
    values, vectors = torch.linalg.eigh(left.T @ left / len(left))
    return means, vectors.flip(1)[:, :count], values.flip(0)[:count].clamp_min(1e-12).sqrt()


def _unconstrained(leaf: Tensor) -> None: ...


def _stored(
    start: Tensor,
    labels: Tensor,
    decode: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], None] = _unconstrained,
) -> Stored:
    return Stored(start.detach().clone().requires_grad_(), labels, decode, project)


def _pixels(problem: Problem, init: Init) -> Tensor:
    return noise_images(problem) if init == "noise" else select_real(problem, init).images


def _generator(problem: Problem) -> Generator:
    assert problem.generator is not None, "the stage provides one for parametrizations with `generated`"
    return problem.generator


def _noise(problem: Problem, generator: Generator) -> Tensor:
    random = torch.Generator().manual_seed(derive(problem.seed, "synthetic"))
    return generator.noise(problem.per_class * problem.classes, random).to(problem.device)
