"""Spectral normalisation of a whole network."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def spectral(network: nn.Module) -> nn.Module:
    """The network with every convolution, linear layer and embedding divided by its largest singular value (SNGAN, Miyato et al.
    2018, arXiv:1802.05957, algorithm 1: one power iteration a forward pass). To be called once its weights are drawn."""
    for module in list(network.modules()):
        # On the meta device a network is only looked at, and power iterations on nothing would take 1.5 s.
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding) and not module.weight.is_meta:
            spectral_norm(module)
    return network
