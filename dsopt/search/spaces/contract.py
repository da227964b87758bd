"""What a search space is: fields with values, and what network a choice of one value each is."""

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

Genotype = tuple[int, ...]  # the place of each field's value among its values


class Cost(NamedTuple):
    """Of a network: learned numbers, and multiply-adds of convolutions and linear layers for one image."""

    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Space:
    """A product of fields; two different genotypes are two different children.

    Args:
        fields: their values by name.
        network: (channels, classes, pixels a side, **{field: value}) -> images [b, c, s, s] to logits [b, classes].
        shared: (channels, classes) -> one network with the weights of all children, and (it, genotype) makes it one of them.
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
        """The genotype that comes at this place when all are listed."""
        places = []
        for size in reversed(self.sizes):
            number, place = divmod(number, size)
            places.append(place)
        return tuple(reversed(places))

    def sample(self, drawn: random.Random) -> Genotype:
        return tuple(drawn.randrange(size) for size in self.sizes)

    def neighbours(self, genotype: Genotype) -> list[Genotype]:
        """All that differ in one field."""
        return [
            (*genotype[:field], place, *genotype[field + 1 :])
            for field, size in enumerate(self.sizes)
            for place in range(size)
            if place != genotype[field]
        ]

    def mutate(self, genotype: Genotype, drawn: random.Random) -> Genotype:
        """Another value in one field; every field that has one is equally likely."""
        field = drawn.choice([field for field, size in enumerate(self.sizes) if size > 1])
        place = (genotype[field] + drawn.randrange(1, self.sizes[field])) % self.sizes[field]
        return (*genotype[:field], place, *genotype[field + 1 :])

    def values(self, genotype: Genotype) -> dict[str, Any]:
        return {field: values[place] for (field, values), place in zip(self.fields.items(), genotype, strict=True)}

    def encode(self, genotype: Genotype) -> str:
        """A child in one line: `width=16 depth=2 norm=batch act=relu pool=max`."""
        return " ".join(f"{field}={value}" for field, value in self.values(genotype).items())

    def decode(self, text: str) -> Genotype:
        """The genotype of such a line. Raises InputError if it is none of this space."""
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
        """The same for the same child in any process: of the space's name and the line."""
        return hashlib.sha256(f"{self.name} {self.encode(genotype)}".encode()).hexdigest()[:12]

    def build(self, genotype: Genotype, channels: int, classes: int, size: int) -> nn.Module:
        """The network, its weights drawn by torch's generator."""
        return self.network(channels, classes, size, **self.values(genotype))

    def cost(self, genotype: Genotype, channels: int, classes: int, size: int) -> Cost:
        with torch.device("meta"):  # shapes only: nothing is computed
            network = self.build(genotype, channels, classes, size).eval()
            return Cost(sum(p.numel() for p in network.parameters()), _multiply_adds(network, torch.empty(1, channels, size, size)))


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
