"""Networks of ENAS's micro search space: nodes with two chosen inputs and an operation on each, in a normal and a reduction cell.

The space of Pham et al. 2018 (arXiv:1802.03268, section 2.3), which the distillation thesis searched (section 3.1).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dsopt.models.child_cells import relu_conv_norm

OPERATIONS = ("identity", "sep3x3", "sep5x5", "avgpool3x3", "maxpool3x3")

Choices = Sequence[tuple[int, int, int, int]]  # of every node: first input, its operation, second input, its operation


def separable(width: int, kernel: int) -> nn.Sequential:
    """ReLU, a depthwise and a pointwise convolution, batch normalization; twice, as there."""

    def once() -> list[nn.Module]:
        depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        return [nn.ReLU(), depthwise, nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)]

    return nn.Sequential(*once(), *once())


def operation(name: str, width: int) -> nn.Module:
    """One operation, [b, width, s, s] -> the same shape."""
    makers: dict[str, Callable[[], nn.Module]] = {
        "identity": nn.Identity,
        "sep3x3": lambda: separable(width, 3),
        "sep5x5": lambda: separable(width, 5),
        "avgpool3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        "maxpool3x3": lambda: nn.MaxPool2d(3, 1, 1),
    }
    return makers[name]()


class Node(nn.Module):
    """The sum of two operations, each on one of the values before it.

    Args:
        choices: first input, its operation, second input, its operation; a stand-alone node has only these operations.
        inputs: how many values there are before it.
        shared: all operations, with weights for each input as in ENAS's code; of these `choices` are active.
    """

    def __init__(self, width: int, choices: tuple[int, int, int, int], inputs: int, shared: bool) -> None:
        super().__init__()
        self.choices, self.shared = choices, shared
        self.sides = nn.ModuleList(
            nn.ModuleList(operation(name, width) for name in (OPERATIONS * inputs if shared else [OPERATIONS[chosen]]))
            for chosen in (choices[1], choices[3])
        )

    def forward(self, values: Sequence[Tensor]) -> Tensor:
        first, second = (
            side[source * len(OPERATIONS) + chosen if self.shared else 0](values[source])  # type: ignore[index]
            for side, source, chosen in zip(self.sides, self.choices[::2], self.choices[1::2], strict=True)
        )
        return first + second


class Joined(nn.Module):
    """The values that no node has as an input, joined to `width` channels by a 1x1 convolution of their sum.

    Deviation: ENAS concatenates them, with weights for each; a sum needs none for those that a child leaves out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = relu_conv_norm(width, width, 1)

    def forward(self, values: Sequence[Tensor], used: set[int]) -> Tensor:
        loose = [value for place, value in enumerate(values) if place not in used]
        return self.mix(torch.stack(loose).mean(0))


class EnasCell(nn.Module):
    """Two inputs, the outputs of the two cells before it, and some nodes; the last node is always loose, so there is an output."""

    def __init__(self, width: int, choices: Choices, shared: bool) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(Node(width, chosen, place + 2, shared) for place, chosen in enumerate(choices))
        self.joined = Joined(width)

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        values, used = [before, last], set[int]()
        for node in self.nodes:
            values.append(node(values))
            used |= {node.choices[0], node.choices[2]}  # type: ignore[index]
        # The cell's own inputs are never part of its output.
        return self.joined(values, used | {0, 1})


def _halved(width: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), relu_conv_norm(width, 2 * width, 1))


class Network(nn.Module):
    """A stem, three stages of `cells` normal cells, a reduction cell between them that halves the image, and a linear layer."""

    def __init__(
        self, channels: int, classes: int, normal: Choices, reduction: Choices, width: int, cells: int, shared: bool
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.normal, self.reduction = nn.ModuleList(), nn.ModuleList()
        self.halve = nn.ModuleList()
        for stage in range(3):
            here = width << stage
            self.normal.append(nn.ModuleList(EnasCell(here, normal, shared) for _ in range(cells)))
            if stage < 2:
                # Halved by averaging: a strided 1x1 convolution of 4 channels crashes torch 2.x on CPUs.
                self.halve.append(nn.ModuleList(_halved(here) for _ in range(2)))
                self.reduction.append(EnasCell(2 * here, reduction, shared))
        self.last = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))

    def forward(self, images: Tensor) -> Tensor:
        before = last = self.stem(images)
        for stage, cells in enumerate(self.normal):
            for cell in cells:  # type: ignore[union-attr]
                before, last = last, cell(before, last)
            if stage < len(self.reduction):
                first, second = self.halve[stage]  # type: ignore[misc]
                before, last = first(before), second(last)
                before, last = last, self.reduction[stage](before, last)
        return self.last(last)


def nodes_of(places: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """The choices of nodes from a flat list, four a node."""
    return [tuple(places[start : start + 4]) for start in range(0, len(places), 4)]  # type: ignore[misc]


def activate(network: nn.Module, genotype: Sequence[int]) -> None:
    """Select the child of a network with shared weights: the choices of its normal cell, then of its reduction cell."""
    assert isinstance(network, Network)
    half = len(genotype) // 2
    for choices, cells in (
        (nodes_of(genotype[:half]), [cell for stage in network.normal for cell in stage]),  # type: ignore[union-attr]
        (nodes_of(genotype[half:]), network.reduction),
    ):
        for cell in cells:
            for node, chosen in zip(cell.nodes, choices, strict=True):  # type: ignore[arg-type]
                node.choices = chosen
