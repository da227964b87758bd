"""Spectral normalization of a whole network."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def spectral(network: nn.Module) -> nn.Module:
    """The network with the weights of every convolution, linear layer and embedding divided by their largest singular value (SNGAN,
    Miyato et al. 2018, arXiv:1802.05957, algorithm 1: one power iteration a forward pass).

    To be called after the weights are initialized.
    """
    for module in list(network.modules()):
        # On the meta device a network is only inspected, and the initial power iterations would take 1.5 s for nothing.
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding) and not module.weight.is_meta:
            spectral_norm(module)
    return network
