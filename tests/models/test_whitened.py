"""The fast network: what its whitening does, when, and what a trained one answers."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from dsopt.models.whitened import Whitening, whitened


def pictures(count: int = 64, channels: int = 3) -> torch.Tensor:
    """Smooth random pictures, whose neighboring pixels are alike."""
    noise = torch.randn(count, channels, 36, 36, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 5, 1) * torch.tensor([1.0, 3.0, 0.5])[:channels, None, None] + 0.3


def test_patches_are_uncorrelated_behind_it_and_of_one_variance():
    images, layer = pictures(), Whitening(3, 2, floor=1e-6)
    found = layer(images).transpose(0, 1).flatten(1)[:12]
    covariance = found.cov()
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.02, rtol=0)
    torch.testing.assert_close(layer(images)[:, 12:], -layer(images)[:, :12])


def test_directions_without_variance_are_not_blown_up():
    images = pictures()[:, :1].expand(-1, 3, -1, -1)  # gray: two thirds of the directions are empty
    assert Whitening(3, 2)(images).abs().max() < 100


def test_only_the_first_training_batch_counts():
    layer = Whitening(3, 2)
    start = layer.filters.clone()
    layer.eval()(pictures())
    assert torch.equal(layer.filters, start)
    layer.train()(pictures())
    first = layer.filters.clone()
    assert not torch.equal(first, start)
    layer(7 * pictures() ** 2)
    assert torch.equal(layer.filters, first)


def test_a_restored_network_keeps_its_whitening():
    torch.manual_seed(0)
    trained = whitened(3, 10, width=4)
    trained(pictures())
    restored = whitened(3, 10, width=4)
    restored.load_state_dict(copy.deepcopy(trained.state_dict()))
    restored(7 * pictures() ** 2)
    assert torch.equal(restored.layers[0].filters, trained.layers[0].filters)


def test_a_trained_network_does_not_tell_left_from_right():
    network, images = whitened(3, 10, width=4).eval(), pictures(8)
    torch.testing.assert_close(network(images), network(images.flip(3)), rtol=1e-4, atol=1e-6)
    plain = whitened(3, 10, width=4, mirror=False).eval()
    assert not torch.allclose(plain(images), plain(images.flip(3)), rtol=1e-4, atol=1e-6)


def test_filters_start_as_the_identity_as_far_as_they_go():
    convolutions = [layer for layer in whitened(3, 10, width=64).layers if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        count = min(layer.in_channels, layer.out_channels)
        assert torch.equal(layer.weight[:count].sum((2, 3)), torch.eye(layer.in_channels)[:count])
