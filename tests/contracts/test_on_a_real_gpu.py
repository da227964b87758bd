"""What the pretended GPU cannot tell: that a real one takes every step, waits for none, and computes the same."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from digits import CPU, digits, feed
from PIL import Image
from slow_reader import ROWS, digits_stage
from small_adversaries import batch, learner, pairs, settings
from torch import nn

from dsopt.augment import Draws, draws
from dsopt.augment.inputs import make_inputs
from dsopt.data.background import BackgroundLoader
from dsopt.data.batches import Batch
from dsopt.data.images import Images
from dsopt.data.nvjpeg import GpuDecoder
from dsopt.data.pixels import rgb
from dsopt.learners.classifier import Classifier
from dsopt.models.libraries.contract import Preparation
from dsopt.pipeline.training import batches
from dsopt.registry import AUGMENTATIONS, DISTILLERS
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker, set_arithmetic

sys.path.append(str(Path(__file__).parent.parent / "distillation"))
import small

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda", 0)


def there(given: Batch) -> Batch:
    return given._replace(images=given.images.to(CUDA), labels=given.labels.to(CUDA))


def assert_steps_without_waiting(found, make) -> None:
    given = [there(make(step)) for step in range(3)]
    for step in given[:2]:
        found.update(step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found.update(given[2])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", [name for name in DISTILLERS.names() if DISTILLERS.traits(name).learns])
def test_a_distiller(name):
    options = {"bptt": {"length": 3, "window": 2}, "halving": {"rounds": 1}, "frepo": {"pool": 2}}
    given = small.problem(device=CUDA, network=lambda: small.tiny().to(CUDA, non_blocking=True))
    made = DISTILLERS.build(name, options.get(name))(replace(given, images=given.images.to(CUDA), labels=given.labels.to(CUDA)))
    assert_steps_without_waiting(made, small.batch)


@pytest.mark.parametrize("name", [name for name in DISTILLERS.names() if DISTILLERS.traits(name).compiles])
def test_a_distiller_in_cuda_graphs_learns_as_the_eager_one(name):
    options = {"bptt": {"length": 3, "window": 2}, "gradient_matching": {"outer": 4, "inner": 2}}
    losses = {}
    for how in ("off", "on"):
        torch.manual_seed(0)
        given = small.problem(device=CUDA, compile=how, network=lambda: small.tiny().to(CUDA, non_blocking=True))
        given = replace(given, images=given.images.to(CUDA), labels=given.labels.to(CUDA))
        made = DISTILLERS.build(name, options.get(name))(given)
        losses[how] = [float(made.update(there(small.batch(step)))["loss"]) for step in range(5)]
    assert losses["on"] == pytest.approx(losses["off"], rel=0.01)


@pytest.mark.parametrize("loss, judge", {name: pair for pair in pairs() for name in pair}.values())
def test_a_loss_with_a_discriminator(loss, judge):
    assert_steps_without_waiting(learner(settings("dcgan_generator", judge, loss), Worker(device=CUDA)), batch)


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_is_that_of_the_cpu(name):
    traits, random = AUGMENTATIONS.traits(name), torch.Generator().manual_seed(0)
    if getattr(traits, "mixes", False) or name == "random_resized_crop":  # antialiased on a CPU alone
        return
    images = torch.randint(0, 256, (64, 3, 32, 32), generator=random).contiguous(memory_format=torch.channels_last)
    images = images.to(torch.uint8) if traits.bytes else images.float() / 255
    transform = AUGMENTATIONS.build(name, {"size": 24} if "size" in AUGMENTATIONS.defaults(name) else None)
    expected = transform(images, draws(7, 64, 0, 64, CPU)).float()
    found = transform(images.to(CUDA), Draws(CUDA)(7, 64, 0, 64)).float().cpu()
    # A pixel between two may round to the other one: those are few.
    assert (found - expected).abs().gt(1e-3 * expected.abs().max()).float().mean() < 0.01


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_classifier_learns_as_on_the_cpu(precision):
    set_arithmetic()
    losses = {}
    for device in (CPU, CUDA):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(800, 10))
        given = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9}
        made = Classifier(network, precision=precision if device == CUDA else "fp32", device=device, **given)
        source = feed(200, 50)
        losses[device.type] = [float(made.update(there(source(i)) if device == CUDA else source(i))["loss"]) for i in range(20)]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.02 if precision == "fp32" else 0.1)


def test_cuda_graphs_train_as_eager_passes():
    losses = {}
    for how in ("off", "on"):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(800, 10))
        given = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "precision": "fp32"}
        made, source = Classifier(network, compile=how, device=CUDA, **given), feed(200, 50)
        losses[how] = [float(made.update(there(source(step)))["loss"]) for step in range(12)]
    assert losses["on"] == pytest.approx(losses["off"], rel=0.01)


def test_batches_on_their_way_are_those_of_a_set_on_the_gpu():
    images, labels = digits()
    inputs, found = make_inputs([], 32, [[0.5], [0.25]]), []
    for here in (images.to(CUDA), images):
        source = batches(shuffle(len(images), 64, 0), here, labels.to(CUDA), inputs, 0, Worker(device=CUDA))
        found.append([source(step).images.cpu() for step in range(6)])
    assert all(map(torch.equal, *found))


def test_a_set_arrives_while_the_gpu_computes(tmp_path):
    uri = digits_stage(tmp_path, 3)
    images, labels = digits()
    subset = Images(torch.tensor([100, 103]), images[:2].contiguous(memory_format=torch.channels_last), labels[:2])
    busy = torch.randn(2000, 2000, device=CUDA)
    for _ in range(50):
        busy = busy @ busy / 2000
    del busy  # its memory may be taken for the images, while it is still computed
    made = BackgroundLoader(uri, "train", subset, 10, CUDA)
    try:
        whole = made.whole()
        assert torch.equal(whole.images.cpu(), images[: 3 * ROWS]) and made.images.device == CUDA
    finally:
        made.close()


def test_jpegs_are_decoded_while_the_gpu_computes_and_overwrite_nothing():
    preparation, random, files = Preparation(96, 110, (0.0,) * 3, (1.0,) * 3), np.random.default_rng(0), []
    for i in range(40):
        picture, sink = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).resize((300 + i, 220)), io.BytesIO()
        picture.save(sink, "JPEG", quality=90, progressive=i % 4 == 0)
        files.append(sink.getvalue())
    decoder, busy = GpuDecoder(preparation.shrunk, CUDA), torch.randn(8000, 8000, device=CUDA)
    sevens = [torch.full((3, 220, 300 + i), 7, dtype=torch.uint8, device=CUDA) for i in range(40)]
    for _ in range(20):
        busy = busy @ busy / 8000
    sums = [each.sum() for each in sevens]  # not yet computed when their memory is free, and as large as what is decoded
    del sevens
    found = decoder(files)
    assert [int(each) for each in sums] == [7 * 3 * 220 * (300 + i) for i in range(40)]
    assert not decoder.told
    for file, pixels in zip(files, found, strict=True):
        expected = preparation.see(rgb(file, (255, 255, 255)))
        assert pixels is not None and (pixels.float() - expected.float()).abs().mean() < 2  # decoders spread colors differently
