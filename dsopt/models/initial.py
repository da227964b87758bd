"""Initializations other than torch's defaults."""

from torch import nn


def xavier(network: nn.Sequential) -> nn.Sequential:
    """Draw the weights of convolutions and linear layers from Xavier's normal distribution, biases 0.

    Glorot & Bengio 2010, section 4.2.1.
    """
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
    return network


def small_normal(network: nn.Module) -> nn.Module:
    """Draw the weights of convolutions and linear layers from N(0, 0.02), biases 0 (arXiv:1511.06434, section 4)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
