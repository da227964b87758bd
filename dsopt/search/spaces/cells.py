"""Search spaces of cells."""

from functools import partial
from typing import Any

from torch import nn

from dsopt.models.child_cells import EDGES, OPERATIONS, activate, child_network, shared_network
from dsopt.registry import SPACES
from dsopt.search.spaces.contract import Space


@SPACES.register
def cell201(*, width: int = 16, cells: int = 5) -> Space:
    """NAS-Bench-201 (arXiv:2001.00326): 5 operations on the 6 edges of a cell, 15,625 children."""

    def network(channels: int, classes: int, size: int, **operations: Any) -> nn.Module:
        return child_network(channels, classes, list(operations.values()), width=width, cells=cells)

    shared = partial(shared_network, width=width, cells=cells)
    return Space("cell201", {f"{source}to{node}": OPERATIONS for node, source in EDGES}, network, (shared, activate))
