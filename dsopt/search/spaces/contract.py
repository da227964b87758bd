"""Search spaces: fields with their possible values, and the network of each combination of values."""

import hashlib
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from dsopt.errors import InputError, unknown

Genotype = tuple[int, ...]  # for each field, the index of its value


class NetworkCost(NamedTuple):
    """A network's number of parameters, and the multiply-adds of its convolutions and linear layers for one image."""

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Space:
    """The Cartesian product of fields; different genotypes are different children.

    Args:
        fields: the possible values of each field, by name.
        network: (channels, classes, pixels per side, **{field: value}) -> network from images [b, c, s, s] to logits [b, classes].
        shared: a function (channels, classes) -> network with the weights of all children, and a function (network, genotype) that
            turns it into one of them.
    """

    name: str
    fields: Mapping[str, Sequence[Any]]
    network: Callable[..., nn.Module]
    shared: tuple[Callable[[int, int], nn.Module], Callable[[nn.Module, Genotype], None]] | None = None

    def __post_init__(self) -> None:
        for field, values in self.fields.items():
            if not values or len(set(values)) < len(values):
                raise InputError(f"search.space {self.name}: {field}={list(values)}: must be different values, at least one.")

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.fields.values())

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def __iter__(self) -> Iterator[Genotype]:
        return itertools.product(*map(range, self.sizes))

    def at(self, number: int) -> Genotype:
        """The genotype at position `number` of the list of all genotypes."""
        places = []
        for size in reversed(self.sizes):
            number, place = divmod(number, size)
            places.append(place)
        return tuple(reversed(places))

    def sample(self, drawn: random.Random) -> Genotype:
        return tuple(drawn.randrange(size) for size in self.sizes)

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """All genotypes that differ in one field."""
        return [
            (*genotype[:field], place, *genotype[field + 1 :])
            for field, size in enumerate(self.sizes)
            for place in range(size)
            if place != genotype[field]
        ]

    def mutate(self, genotype: Genotype, drawn: random.Random) -> Genotype:
        """Change the value of one random field; fields with a single value are left out."""
        field = drawn.choice([field for field, size in enumerate(self.sizes) if size > 1])
        place = (genotype[field] + drawn.randrange(1, self.sizes[field])) % self.sizes[field]
        return (*genotype[:field], place, *genotype[field + 1 :])

    def values(self, genotype: Genotype) -> dict[str, Any]:
        return {field: values[place] for (field, values), place in zip(self.fields.items(), genotype, strict=True)}

    def encode(self, genotype: Genotype) -> str:
        """A child in one line: `width=16 depth=2 norm=batch act=relu pool=max`."""
        return " ".join(f"{field}={value}" for field, value in self.values(genotype).items())

    def decode(self, text: str) -> Genotype:
        """The inverse of `encode`. Raises InputError if the line is not a child of this space."""
        given = {word.partition("=")[0]: word.partition("=")[2] for word in text.split()}
        if list(given) != list(self.fields):
            raise InputError(f"child {text!r}: is not of the space {self.name}; its fields are {', '.join(self.fields)}.")
        places = []
        for field, values in self.fields.items():
            words = [str(value) for value in values]
            if given[field] not in words:
                raise unknown(f"child {text!r}: {field}", given[field], words)
            places.append(words.index(given[field]))
        return tuple(places)

    def hash(self, genotype: Genotype) -> str:
        """A hash of the space's name and the encoded child, the same in any process."""
        return hashlib.sha256(f"{self.name} {self.encode(genotype)}".encode()).hexdigest()[:12]

    def build(self, genotype: Genotype, channels: int, classes: int, size: int) -> nn.Module:
        """The network, with weights drawn by torch's global generator."""
        return self.network(channels, classes, size, **self.values(genotype))

    def cost(self, genotype: Genotype, channels: int, classes: int, size: int) -> NetworkCost:
        with torch.device("meta"):  # tensors without data: only shapes are computed
            network = self.build(genotype, channels, classes, size).eval()
            return NetworkCost(
                sum(p.numel() for p in network.parameters()), _multiply_adds(network, torch.empty(1, channels, size, size))
            )


def _multiply_adds(network: nn.Module, images: torch.Tensor) -> int:
    counted = 0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(module.weight, torch.Tensor)
        counted += output[0].numel() * module.weight[0].numel()

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    network(images)
    for hook in hooks:
        hook.remove()
    return counted
