"""Networks of identical cells with one operation on each edge (NAS-Bench-201): stand-alone, or one supernet for all of them."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")
EDGES = tuple((node, source) for node in range(1, 4) for source in range(node))  # (to, from), in NAS-Bench-201's order


class Zero(nn.Module):
    """No connection."""

    def forward(self, images: Tensor) -> Tensor:
        return images * 0  # stays in the graph, so that a cell whose edges are all "none" can be differentiated


def relu_conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outputs))


def operation(name: str, width: int) -> nn.Module:
    """One operation, [b, width, s, s] -> the same shape (arXiv:2001.00326, section 2.1)."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "none": Zero,
        "skip": nn.Identity,
        "conv1x1": lambda: relu_conv_norm(width, width, 1),
        "conv3x3": lambda: relu_conv_norm(width, width, 3),
        "avgpool3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    }
    return makers[name]()


class AnyOperation(nn.Module):
    """All candidate operations of an edge, of which one is active."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operation(name, width) for name in OPERATIONS)
        self.active = 0

    def forward(self, images: Tensor) -> Tensor:
        return self.operations[self.active](images)


class Cell(nn.Module):
    """Four nodes; each is the sum over the edges from all nodes before it."""

    def __init__(self, edges: Sequence[nn.Module]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edges)

    def forward(self, images: Tensor) -> Tensor:
        nodes: list[Tensor] = [images]
        for (node, source), edge in zip(EDGES, self.edges, strict=True):
            value = edge(nodes[source])
            nodes[node : node + 1] = [nodes[node] + value if len(nodes) > node else value]
        return nodes[-1]


class ResidualReduction(nn.Module):
    """A residual block that halves the image and doubles the width (arXiv:2001.00326, figure 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(relu_conv_norm(width, 2 * width, 3, 2), relu_conv_norm(2 * width, 2 * width, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(width, 2 * width, 1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        return self.block(images) + self.shortcut(images)


def cell_network(
    channels: int, classes: int, edge: Callable[[int, int], nn.Module], *, width: int = 16, cells: int = 5
) -> nn.Sequential:
    """Three stages of `cells` cells with widths 1, 2 and 4 times `width`, then a linear layer (arXiv:2001.00326, figure 1).

    Images [b, channels, s, s] -> logits [b, classes].

    Args:
        edge: (index in EDGES, width of the stage) -> the module of that edge.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
    for stage in range(3):
        here = width << stage
        layers += [Cell([edge(number, here) for number in range(len(EDGES))]) for _ in range(cells)]
        layers += [ResidualReduction(here)] if stage < 2 else []
    last = 4 * width
    return nn.Sequential(*layers, nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))


def child_network(channels: int, classes: int, operations: Sequence[str], *, width: int, cells: int) -> nn.Sequential:
    """The stand-alone network with these operations on the six edges."""
    return cell_network(channels, classes, lambda number, here: operation(operations[number], here), width=width, cells=cells)


def shared_network(channels: int, classes: int, *, width: int, cells: int) -> nn.Sequential:
    """The supernet: one network with the shared weights of all children (ENAS, arXiv:1802.03268); `activate` selects a child."""
    return cell_network(channels, classes, lambda number, here: AnyOperation(here), width=width, cells=cells)


def activate(network: nn.Module, genotype: Sequence[int]) -> None:
    """Select the child of a supernet that has these operations, given as indices into OPERATIONS."""
    for cell in network.modules():
        if isinstance(cell, Cell):
            for edge, chosen in zip(cell.edges, genotype, strict=True):
                assert isinstance(edge, AnyOperation)
                edge.active = chosen
