"""The thesis's residual network."""

import torch
from torch import nn

from dsopt.models.resnet21 import resnet21


def test_it_is_as_in_the_table():
    network = resnet21(3, 10)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 1 == 21  # and the linear layer
    maps = [m.out_channels for m in convolutions if m.kernel_size == (3, 3)]
    assert maps == [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    assert [m.out_channels for m in convolutions if m.kernel_size == (1, 1)] == [128, 256, 512]
    assert sum(m.stride == (2, 2) for m in convolutions) == 6
    assert network[:-3](torch.rand(2, 3, 32, 32)).shape == (2, 512, 2, 2)


def test_a_block_that_adds_nothing_passes_its_input_on():
    block = resnet21(3, 10, width=4)[4].eval()
    nn.init.zeros_(block.second[1].weight)
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(block(x), x)
