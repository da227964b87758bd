"""The networks of generators: their sizes, their parameters, and that they use their conditions."""

import pytest
import torch
from torch import nn

from dsopt.models.conditions import ClassBatchNorm, halvings
from dsopt.registry import MODELS

KINDS = ("generator", "discriminator", "encoder")
NAMES = [name for name in MODELS.names() if MODELS.traits(name).kind in KINDS and "condition" in MODELS.defaults(name)]


def build(name: str, size: int = 16, channels: int = 3, **options) -> nn.Module:
    torch.manual_seed(0)
    latent = () if MODELS.traits(name).kind == "discriminator" else (6,)
    return MODELS.build(name, {"width": 5} | options)(channels, size, 3, *latent)


def given(name: str, size: int = 16, channels: int = 3) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    if MODELS.traits(name).kind == "generator":
        return torch.randn(4, 6, generator=random)
    return torch.rand(4, channels, size, size, generator=random)


def first(found) -> torch.Tensor:
    """Images, a discriminator's score, or a code's mean."""
    return found if isinstance(found, torch.Tensor) else found[0]


def conditions(name: str) -> list[str]:
    annotation = str(MODELS.function(name).__annotations__["condition"])
    return [word for word in ("concat", "projection", "auxiliary", "batch_norm") if word in annotation]


@pytest.mark.parametrize(
    "name, options, arguments, count",
    [
        ("infogan_generator", {"condition": "concat"}, (1, 28, 10, 62), 6_650_433),
        ("infogan_discriminator", {"condition": "concat"}, (1, 28, 10), 6_569_409),
        ("infogan_generator", {"condition": "concat"}, (3, 32, 10, 62), 8_624_323),
        ("infogan_discriminator", {"condition": "concat"}, (3, 32, 10), 8_537_537),
        ("sngan_generator", {"width": 256}, (3, 32, 10, 128), 4_276_739),
        ("sngan_discriminator", {"width": 128}, (3, 32, 10), 1_053_825),
        ("sngan_generator", {"width": 256, "condition": "batch_norm"}, (3, 32, 10, 128), 4_304_387),
        ("sngan_discriminator", {"width": 128, "condition": "projection"}, (3, 32, 10), 1_055_105),
        ("sngan_generator", {"condition": "batch_norm"}, (3, 32, 10, 128), 375_683),
        ("sngan_discriminator", {"condition": "projection"}, (3, 32, 10), 67_169),
        ("mlp_generator", {}, (1, 28, 10, 100), 100 * 1200 + 1200 + 1200 * 1200 + 1200 + 1200 * 784 + 784),
        ("mlp_discriminator", {}, (1, 28, 10), 784 * 1200 + 1200 + 1200 * 240 + 240 + 241),
    ],
)
def test_parameters_as_published(name, options, arguments, count):
    with torch.device("meta"):
        network = MODELS.build(name, options)(*arguments)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("size, channels", [(8, 1), (28, 1), (32, 3), (20, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_sizes(name, size, channels):
    assert MODELS.traits(name).sizes(size)
    network = build(name, size, channels)
    found = network(given(name, size, channels), None)
    if MODELS.traits(name).kind == "generator":
        assert found.shape == (4, channels, size, size)
        assert (found >= MODELS.traits(name).low).all() and (found <= 1).all()
    elif MODELS.traits(name).kind == "encoder":
        assert found[0].shape == found[1].shape == (4, 6) and (found[1] > 0).all()
    else:
        assert found.score.shape == (4,) and len(found.features) == 4
        assert (found.reconstruction is not None) == MODELS.traits(name).energy
    first(found).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters()) or MODELS.traits(name).kind == "encoder"
    assert network.conditional is False


def test_sizes_that_there_are_not():
    assert not any(MODELS.traits("dcgan_generator").sizes(size) for size in (4, 7, 30, 33))
    assert [halvings(size) for size in (28, 32, 64, 48, 8)] == [(7, 2), (4, 3), (4, 4), (3, 4), (4, 1)]


@pytest.mark.parametrize("name, condition", [(name, condition) for name in NAMES for condition in conditions(name)])
def test_conditions_matter(name, condition):
    """Other labels give other images, scores and codes, each image by its own label; with "auxiliary" it tells them instead."""
    network = build(name, condition=condition).eval()
    assert network.conditional is True
    labels = torch.tensor([0, 1, 2, 0])
    found = network(given(name), labels)
    if condition == "auxiliary":
        assert found.class_logits.shape == (4, 3)
        return
    other = first(network(given(name), torch.tensor([0, 1, 0, 0])))
    changed = [not torch.equal(a, b) for a, b in zip(first(found), other, strict=True)]
    assert changed == [False, False, True, False]


@pytest.mark.parametrize("name", [name for name in NAMES if "codes" in MODELS.defaults(name)])
def test_codes_are_estimated_besides_all_else(name):
    """Without them the network is the one it always was, and its other answers do not come from another layer."""
    plain, telling = build(name).eval(), build(name, codes=2).eval()
    assert plain(given(name), None).codes is None
    told = telling(given(name), None)
    assert told.codes.shape == (4, 2) and not torch.equal(told.codes[0], told.codes[1])
    telling.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(telling(given(name), None).score, plain(given(name), None).score)


def test_class_batch_norm_is_batch_norm_with_a_gain_and_bias_of_the_class():
    layer, images = ClassBatchNorm(5, 3), torch.randn(6, 5, 4, 4)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    plain = nn.BatchNorm2d(5, affine=False)(images)
    gain, bias = layer.embedding.weight[:, :5], layer.embedding.weight[:, 5:]
    nn.init.normal_(layer.embedding.weight)
    expected = plain * gain[labels][:, :, None, None] + bias[labels][:, :, None, None]
    torch.testing.assert_close(layer(images, labels), expected)


@pytest.mark.parametrize("name", ["dcgan_discriminator", "sngan_discriminator"])
def test_spectrally_normalized_layers_have_a_largest_singular_value_of_one(name):
    network = build(name, norm="spectral", condition="projection")
    for _ in range(100):  # every forward pass is one power iteration
        network(given(name), torch.tensor([0, 1, 2, 0]))
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding)]
    network.eval()
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.02)
    assert len(layers) > 3


def test_the_energy_of_a_perfect_reconstruction_is_none():
    judge, images = build("energy_discriminator"), given("energy_discriminator")
    found = judge(images, None)
    torch.testing.assert_close(-found.score, (found.reconstruction - images).square().mean((1, 2, 3)))
    assert found.features.shape == (4, judge.encoder(images)[0].numel())


def test_a_shortcut_convolved_at_the_smaller_size_gives_what_the_larger_gives():
    """What SNGAN's blocks rely on, at a quarter of the work: doubling and averaging commute with a 1x1 convolution."""
    convolve, images = nn.Conv2d(3, 4, 1), torch.randn(2, 3, 8, 8)
    for mode in ("nearest", "bilinear"):
        double = nn.Upsample(scale_factor=2, mode=mode)
        torch.testing.assert_close(double(convolve(images)), convolve(double(images)))
    halve = nn.AvgPool2d(2)
    torch.testing.assert_close(halve(convolve(images)), convolve(halve(images)))
