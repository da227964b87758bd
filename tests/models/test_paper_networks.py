"""The selection paper's networks: their shapes, and what the text says of them."""

import pytest
import torch
from torch import nn

from dsopt.models.autoencoder import autoencoder
from dsopt.models.classifier24 import classifier24


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [1, 2, 10, 100])
def test_classifier24_gives_a_logit_a_class(channels, classes):
    assert classifier24(channels, classes, width=8)(torch.rand(3, channels, 24, 24)).shape == (3, classes)


def test_classifier24_is_as_in_the_figure():
    network = classifier24(3, 10)
    dense = [m.out_features for m in network if isinstance(m, nn.Linear)]
    kernels = [m.kernel_size for m in network if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    assert dense == [384, 192, 10] and kernels == [(5, 5), 3, (5, 5), 3]
    assert network[:4](torch.rand(1, 3, 24, 24)).shape == (1, 64, 12, 12)
    assert (network(torch.randn(64, 3, 24, 24)) < 0).any()  # no activation after the logits


@pytest.mark.parametrize("channels", [1, 3])
def test_the_autoencoder_has_216_elements(channels):
    network, images = autoencoder(channels), torch.rand(5, channels, 24, 24)
    embeddings = network.encode(images)
    assert embeddings.shape == (5, 216) and (embeddings >= 0).all()  # ReLU: activations
    reconstructions = network(images)
    assert reconstructions.shape == images.shape
    torch.nn.init.constant_(network.decoder[-2].bias, -0.3)  # type: ignore[arg-type]
    dark = network(images)
    assert (dark >= 0).all() and (dark == 0).any()


def test_other_sizes_of_the_embedding():
    network = autoencoder(1, width=8, code_channels=5)
    assert network.encode(torch.rand(2, 1, 24, 24)).shape == (2, 45)
    assert network(torch.rand(2, 1, 24, 24)).shape == (2, 1, 24, 24)


def test_decode_undoes_the_flattening():
    network, images = autoencoder(1).eval(), torch.rand(5, 1, 24, 24)
    code = network.encoder(images)
    assert code.shape == (5, 24, 3, 3)
    assert torch.equal(network.encode(images), code.reshape(5, 216))
    assert torch.equal(network.decode(code.reshape(5, 216)), network(images))


def test_an_autoencoder_ready_to_embed_has_the_same_values_in_fewer_layers():
    network, images = autoencoder(3, width=8).train(), torch.rand(64, 3, 24, 24)
    for _ in range(3):
        network(images)  # averages that are not those of the start
    expected = network.eval().encode(images)
    ready = network.train().ready_to_embed()
    assert not ready.training and not [layer for layer in ready.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(ready.encode(images), expected, rtol=1e-5, atol=1e-6)


def test_the_autoencoder_starts_near_gray_with_its_pixels_alive():
    torch.manual_seed(0)
    found = autoencoder(3)(torch.rand(16, 3, 24, 24))
    assert float((found > 0).float().mean()) > 0.95 and abs(found.mean().item() - 0.5) < 0.2


def test_pooling_before_relu_gives_what_relu_before_pooling_does():
    """What both networks rely on: the order of the paper's text, at a quarter of the work."""
    given = torch.randn(2, 4, 12, 12, requires_grad=True)
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    weight = torch.randn(2, 4, 6, 6)
    assert torch.equal(pool(given).relu(), pool(given.relu()))
    (one,) = torch.autograd.grad((pool(given).relu() * weight).sum(), given)
    (other,) = torch.autograd.grad((pool(given.relu()) * weight).sum(), given)
    torch.testing.assert_close(one, other)
