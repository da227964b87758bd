"""What every registered network promises, and the sizes of the papers'."""

import pytest
import torch

from dsopt.registry import MODELS


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", MODELS.names())
def test_contract(name: str, channels: int) -> None:
    """Takes images of the size it says, and every weight gets a gradient."""
    traits = MODELS.traits(name)
    network = MODELS.build(name)(channels, 7) if traits.kind == "classifier" else MODELS.build(name)(channels)
    images = torch.rand(4, channels, traits.input_size, traits.input_size)
    output = network(images)
    shapes = {"classifier": (4, 7), "autoencoder": images.shape, "critic": (4, 1)}
    assert output.shape == shapes[traits.kind]
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_autoencoder_makes_216_elements_and_no_negative_pixel() -> None:
    network = MODELS.build("autoencoder")(3).eval()
    images = torch.rand(2, 3, 24, 24)
    code = network.encode(images)
    assert code.shape == (2, 216) and (code >= 0).all()  # the ReLU at its end
    assert torch.equal(network.decode(code), network(images)) and (network(images) >= 0).all()


def test_classifier_is_the_known_network() -> None:
    network = MODELS.build("classifier24")(3, 10)
    assert [tuple(m.weight.shape) for m in network if isinstance(m, torch.nn.Linear)] == [(384, 2304), (192, 384), (10, 192)]
