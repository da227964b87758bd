"""What every registered model promises; a new one is tested by being there."""

import pytest
import torch
from torch import nn

from dsopt.augment.inputs import MOST, make_inputs, view_of
from dsopt.registry import MODELS

NAMES = [name for name in MODELS.names() if MODELS.traits(name).input_size]  # the others: test_every_adversarial.py


def build(name: str, channels: int) -> nn.Module:
    torch.manual_seed(0)
    arguments = (channels, 7) if MODELS.traits(name).kind == "classifier" else (channels,)
    return MODELS.build(name)(*arguments)


def test_there_are_those_of_the_paper():
    assert {"autoencoder", "classifier24", "critic"} <= set(NAMES)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_model(name, channels):
    traits, network = MODELS.traits(name), build(name, channels)
    side = traits.input_size
    images = torch.rand(4, channels, side, side, generator=torch.Generator().manual_seed(0))
    found = network(images)
    found, penalty = found if isinstance(found, tuple) else (found, torch.zeros(()))  # of autoencoders, in training
    expected = {"classifier": (4, 7), "autoencoder": (4, channels, side, side), "critic": (4, 1)}
    assert found.shape == expected[traits.kind]
    (found.square().mean() + penalty).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
    assert any(float(parameter.grad.abs().max()) > 0 for parameter in network.parameters())  # type: ignore[union-attr]
    if traits.kind == "autoencoder":
        embedding = network.eval().encode(images)  # type: ignore[operator]
        assert embedding.ndim == 2 and len(embedding) == 4
        torch.testing.assert_close(network.decode(embedding), network(images))  # type: ignore[operator]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_starts_from_the_seed_alone(name):
    first, second = build(name, 1).state_dict(), build(name, 1).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_gives_the_same_in_channels_last(name):
    side = MODELS.traits(name).input_size
    images, network = torch.rand(4, 3, side, side), build(name, 3).eval()
    expected = network(images)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(network(images.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-5)


ARGUMENTS = {
    "classifier": (3, 10),
    "autoencoder": (3,),
    "critic": (3,),
    "generator": (3, 32, 10, 16),
    "encoder": (3, 32, 10, 16),
    "discriminator": (3, 32, 10),
    "colorizer": (3, 32),
}


@pytest.mark.parametrize("name", MODELS.names())
def test_weights_share_no_memory(name):
    """Or they could not be stored as safetensors, which holds no views of one tensor twice."""
    norms = str(MODELS.function(name).__annotations__.get("norm"))
    build = MODELS.build(name, {"norm": "spectral"} if "spectral" in norms else {})
    network = build(*ARGUMENTS[MODELS.traits(name).kind]).to(memory_format=torch.channels_last)
    tensors = [value for value in network.state_dict().values() if value.numel()]
    assert len({value.untyped_storage().data_ptr() for value in tensors}) == len(tensors)


def pictures(channels: int, side: int) -> torch.Tensor:
    """Two that differ in nothing but a corner, a quarter of the sides: the middle half does not hold it."""
    found = torch.full((2, channels, side, side), 128, dtype=torch.uint8)
    found[1, :, : side // 4, : side // 4] = 255
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_model_sees_a_small_part_of_a_picture(name):
    network, size = build(name, 3).eval(), MODELS.traits(name).input_size
    for side in (size, int(MOST * size), int(MOST * size) + 1, 224):
        view = view_of(name, side)
        inputs = make_inputs([], view.taken, None, loaded=view.loaded)
        one, other = network(inputs.test(pictures(3, side)))
        assert not torch.equal(one, other), side


@pytest.mark.parametrize("name", sorted({*MODELS.names()} - {*NAMES}))
def test_models_of_any_size_are_of_the_whole_picture(name):
    """They are built for the size of the images, which are never cropped: what they make has it, what they look at is all of it."""
    kind, size = MODELS.traits(name).kind, 32
    torch.manual_seed(0)
    network, shown = MODELS.build(name)(*ARGUMENTS[kind]).eval(), pictures(3, size) / 255
    if kind == "generator":
        assert network(torch.randn(2, 16), None).shape == shown.shape
        return
    lightness = shown[:, :1]
    beside = lightness if getattr(MODELS.traits(name), "conditioned_on", None) == "lightness" else None
    found = network(None, lightness) if kind == "colorizer" else network(shown, beside)
    one, other = found[0] if isinstance(found, tuple) else found
    assert not torch.equal(one, other)
