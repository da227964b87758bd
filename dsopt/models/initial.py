"""Initial weights other than torch's."""

from torch import nn


def xavier(network: nn.Sequential) -> nn.Sequential:
    """Draw all weights from Xavier's normal distribution, biases 0 (Glorot & Bengio 2010, section 4.2.1)."""
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
    return network
