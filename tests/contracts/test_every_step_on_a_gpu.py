"""A training step mixes no devices and never waits for the GPU, whatever trains: tried on a pretended one, without a GPU.

A step that waits leaves the GPU without work until the host has put the next kernels into its queue. What is new is tested by being
there.
"""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from digits import digits
from pretended_gpu import CUDA, PretendedGpu
from small_adversaries import CLASSES, batch, learner, pairs, settings, with_term
from torch import Tensor, nn

from dsopt.augment import Draws, draws
from dsopt.augment.inputs import make_inputs
from dsopt.data.batches import Batch, moved
from dsopt.data.images import Images
from dsopt.learners.classifier import Classifier
from dsopt.pipeline.training import batches, on_device
from dsopt.registry import AUGMENTATIONS, DISTILLERS, MODELS, TERMS
from dsopt.training.dynamics import Dynamics
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker

sys.path.append(str(Path(__file__).parent.parent / "distillation"))
import small

WORKER = Worker(device=CUDA)


@pytest.fixture
def gpu():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # autocast says that there is no GPU
        yield PretendedGpu()


def there(given: Batch) -> Batch:
    return given._replace(images=moved(given.images, CUDA), labels=moved(given.labels, CUDA))


def assert_steps(gpu: PretendedGpu, found, make) -> None:
    """The second step, as the first makes what is kept."""
    found.update(there(make(0)))
    gpu.forget()
    found.update(there(make(1)))
    assert gpu.mixed == [] and gpu.calls > 10
    assert not gpu.waits


@pytest.mark.parametrize("augment", [(), ("flip",)])
@pytest.mark.parametrize("name", [name for name in DISTILLERS.names() if DISTILLERS.traits(name).learns])
def test_a_distiller(name, augment, gpu):
    options = {"bptt": {"length": 2, "window": 1}, "halving": {"rounds": 1}, "frepo": {"pool": 2}}
    with gpu.pretend():
        named = augment if name != "dd" else ()
        given = small.problem(device=CUDA, augment=named, network=lambda: small.tiny().to(CUDA, non_blocking=True))
        given = replace(given, labels=moved(given.labels, CUDA))  # and the images stay where they are: they may be many
        assert_steps(gpu, DISTILLERS.build(name, options.get(name))(given), small.batch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DISTILLERS.names() if DISTILLERS.traits(name).compiles])
def test_a_distiller_that_compiles(name, gpu, monkeypatch):
    """What is around its graphs, and what these were traced from: the compiler is left out."""
    monkeypatch.setattr(torch, "compile", lambda module, mode, dynamic: module)
    options = {"bptt": {"length": 2, "window": 1}, "gradient_matching": {"outer": 2, "inner": 1}}
    with gpu.pretend():
        given = small.problem(device=CUDA, compile="on", network=lambda: small.tiny().to(CUDA, non_blocking=True))
        given = replace(given, labels=moved(given.labels, CUDA))
        assert_steps(gpu, DISTILLERS.build(name, options.get(name))(given), small.batch)


@pytest.mark.parametrize("loss, judge", {name: pair for pair in pairs() for name in pair}.values())
def test_a_loss_with_a_discriminator(loss, judge, gpu):
    with gpu.pretend():
        assert_steps(gpu, learner(settings("dcgan_generator", judge, loss), WORKER), batch)


@pytest.mark.parametrize("name", TERMS.names())
def test_a_term(name, gpu):
    with gpu.pretend():
        assert_steps(gpu, learner(with_term(name), WORKER), batch)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw", "muon"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_classifier_fed_from_the_device_or_from_memory(optimizer, kept, gpu, monkeypatch):
    images, labels = digits()
    monkeypatch.setattr("dsopt.data.room.fits_device", lambda size, device: kept)
    with gpu.pretend():
        here = on_device(Images(torch.arange(64), images[:64], labels[:64]), CUDA)
        assert gpu.holds(here.images) == kept and gpu.holds(here.labels)
        inputs = make_inputs(["crop", "flip", "brightness", "contrast"], 24, [[0.5], [0.25]])
        dynamics = Dynamics(64, 2, CUDA if kept else torch.device("cpu"))
        source = batches(shuffle(64, 16, 0), here.images, here.labels, inputs, 0, WORKER, dynamics if kept else None)
        network = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(484, 10))
        given = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "precision": "fp32"}
        assert_steps(gpu, Classifier(network, optimizer=optimizer, device=CUDA, **given), source)


def test_a_network_that_the_first_batch_whitens(gpu, monkeypatch):
    images, labels = digits()
    monkeypatch.setattr("dsopt.data.room.fits_device", lambda size, device: True)
    with gpu.pretend():
        here = on_device(Images(torch.arange(64), images[:64].repeat(1, 1, 2, 2)[:, :, :32, :32], labels[:64]), CUDA)
        source = batches(shuffle(64, 16, 0), here.images, here.labels, make_inputs(["flip"], 32, [[0.5], [0.25]]), 0, WORKER)
        given = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "precision": "fp32"}
        assert_steps(gpu, Classifier(MODELS.build("whitened", {"width": 4})(1, 10), device=CUDA, **given), source)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_is_that_of_the_cpu(name, gpu):
    """With the same random numbers, all of which come in one copy from the second batch on."""
    traits, random = AUGMENTATIONS.traits(name), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=random).contiguous(
        memory_format=torch.channels_last
    )
    images = images if traits.bytes else images.float() / 255
    labels = [torch.rand(12, CLASSES, generator=random)] if getattr(traits, "mixes", False) else []
    transform = AUGMENTATIONS.build(name, {"size": 24} if "size" in AUGMENTATIONS.defaults(name) else None)
    expected = transform(images, *labels, draws(7, 12, 0, 12, torch.device("cpu")))
    with gpu.pretend():
        drawing = Draws(CUDA)
        for _ in range(2):
            gpu.forget()
            found = transform(moved(images, CUDA), *(moved(each, CUDA) for each in labels), drawing(7, 12, 0, 12))
    assert gpu.mixed == [] and not gpu.waits
    if name == "random_resized_crop":  # antialiased on a CPU alone
        return
    pairs_of = [(found, expected)] if isinstance(found, Tensor) else zip(found, expected, strict=True)
    for one, other in pairs_of:
        torch.testing.assert_close(one.float(), other.float(), rtol=1e-5, atol=1e-5)


def test_waits_and_mixtures_are_seen(gpu):
    with gpu.pretend():
        values, mine = torch.arange(4.0).to(CUDA), torch.arange(4.0)
        gpu.forget()
        assert values.device == CUDA and values.is_cuda and not mine.is_cuda
        values.sum().item()
        values[values > 1]
        values.nonzero()
        torch.tensor([1.0], device=CUDA)
        values.cpu()
        assert sum(gpu.waits.values()) == 5 and not gpu.mixed
        values + mine
        torch.rand(3, generator=torch.Generator(), device=CUDA)
        assert len(gpu.mixed) == 2
