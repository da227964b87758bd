"""Search spaces of cells."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from dsopt.errors import InputError
from dsopt.models import child_enas
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


@SPACES.register
def enas_micro(*, width: int = 16, cells: int = 2, nodes: int = 3) -> Space:
    """ENAS's own space (arXiv:1802.03268, section 2.3): cells of nodes, each with two inputs among the values before it and an
    operation on each; a normal and a reduction cell.

    Args:
        cells: normal cells of each of the three stages.
        nodes: of a cell. Published: 5, with 2.6e25 children; here at most 3 with 8.3e13, as children are numbered.
    """
    if not 1 <= nodes <= 3:
        raise InputError(f"search.space enas_micro: options.nodes={nodes}: must be 1, 2 or 3.")
    fields: dict[str, Sequence[Any]] = {}
    for cell in ("n", "r"):
        for node in range(nodes):
            for side in "ab":
                fields |= {f"{cell}{node}{side}": range(node + 2), f"{cell}{node}{side}_op": child_enas.OPERATIONS}

    def choices(values: dict[str, Any], cell: str) -> list[tuple[int, int, int, int]]:
        places = [v if isinstance(v, int) else child_enas.OPERATIONS.index(v) for k, v in values.items() if k.startswith(cell)]
        return child_enas.nodes_of(places)

    def network(channels: int, classes: int, size: int, **values: Any) -> nn.Module:
        return child_enas.Network(channels, classes, choices(values, "n"), choices(values, "r"), width, cells, shared=False)

    def shared(channels: int, classes: int) -> nn.Module:
        first = [(0, 0, 1, 0)] * nodes
        return child_enas.Network(channels, classes, first, first, width, cells, shared=True)

    return Space("enas_micro", fields, network, (shared, child_enas.activate))
