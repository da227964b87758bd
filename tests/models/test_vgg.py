"""The augmentation paper's classifier against its text."""

import pytest
import torch
from torch import nn

from dsopt.models.vgg import vgg, vgg28


@pytest.mark.parametrize("make, side, batch_norm", [(vgg, 32, True), (vgg28, 28, False)])
def test_it_is_as_in_the_text(make, side, batch_norm):
    network = make(3, 10)
    kinds = [nn.Conv2d, *[nn.BatchNorm2d] * batch_norm, nn.LeakyReLU] * 2 + [nn.MaxPool2d, nn.Dropout]
    assert [type(module) for module in network] == kinds * 3 + [nn.Flatten, nn.Linear]
    assert [m.out_channels for m in network if isinstance(m, nn.Conv2d)] == [64, 64, 128, 128, 256, 256]
    assert all(m.p == 0.6 for m in network if isinstance(m, nn.Dropout))
    assert network.eval()(torch.rand(2, 3, side, side)).shape == (2, 10)


def test_weights_are_glorots_uniform():
    torch.manual_seed(0)
    weight = vgg(3, 10)[-1].weight
    bound = (6 / (weight.shape[0] + weight.shape[1])) ** 0.5
    assert 0.98 * bound < weight.abs().max() <= bound and abs(weight.std() / bound * 3**0.5 - 1) < 0.02
