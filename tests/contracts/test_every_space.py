"""The contract of search spaces, tested for every registered one; new ones are found automatically."""

import random

import pytest
import torch
from torch import nn

from dsopt.errors import InputError
from dsopt.registry import SPACES
from dsopt.search.spaces.contract import Space

NAMES = SPACES.names()
SMALL = {"cell201": {"width": 4, "cells": 1}, "enas_micro": {"width": 4, "cells": 1, "nodes": 1}}
SIZE = 16


@pytest.fixture(params=NAMES)
def space(request: pytest.FixtureRequest) -> Space:
    return SPACES.build(request.param, SMALL.get(request.param))()


def test_there_are_those_of_the_papers() -> None:
    assert {name: len(SPACES.build(name)()) for name in NAMES} == {
        "mini216": 216,
        "dc720": 720,
        "cell201": 15625,
        "enas_micro": 9_000_000**2,
    }


def test_every_child_has_a_place_a_line_and_a_hash(space: Space) -> None:
    every = list(space)
    assert len(every) == len(space) == len(set(every))
    some = random.Random(0).sample(range(len(space)), 40)
    assert all(space.at(number) == every[number] for number in some)
    assert all(space.decode(space.encode(every[number])) == every[number] for number in some)
    assert len({space.hash(every[number]) for number in some}) == 40


def test_samples_are_all_alike_and_repeatable(space: Space) -> None:
    drawn = [space.sample(random.Random(seed)) for seed in range(300)]
    assert drawn == [space.sample(random.Random(seed)) for seed in range(300)]
    for field, size in enumerate(space.sizes):
        assert {genotype[field] for genotype in drawn} == set(range(size))


def test_mutants_are_the_neighbours_and_no_others(space: Space) -> None:
    genotype, drawn = space.sample(random.Random(1)), random.Random(2)
    neighbours = space.neighbours(genotype)
    assert len(neighbours) == len(set(neighbours)) == sum(size - 1 for size in space.sizes)
    assert all(sum(a != b for a, b in zip(genotype, other, strict=True)) == 1 for other in neighbours)
    assert {space.mutate(genotype, drawn) for _ in range(1000)} == set(neighbours)
    assert all(genotype in space.neighbours(other) for other in neighbours)


def test_children_are_networks_that_learn(space: Space) -> None:
    drawn, images = random.Random(3), torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for _ in range(6):
        genotype = space.sample(drawn)
        torch.manual_seed(0)
        network = space.build(genotype, 3, 7, SIZE)
        torch.manual_seed(0)
        again = space.build(space.decode(space.encode(genotype)), 3, 7, SIZE)
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
        found = network(images)
        assert found.shape == (4, 7)
        found.square().mean().backward()
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        assert last.bias.grad is not None and bool(last.bias.grad.abs().max() > 0)
        parameters, multiply_adds = space.cost(genotype, 3, 7, SIZE)
        assert parameters == sum(p.numel() for p in network.parameters())
        assert multiply_adds > 0


def test_a_line_of_another_space_is_told(space: Space) -> None:
    line = space.encode(space.sample(random.Random(0)))
    with pytest.raises(InputError, match="is not of the space"):
        space.decode("color=red")
    field, _, _ = line.partition("=")
    with pytest.raises(InputError, match="is not known"):
        space.decode(line.replace(line.split()[0], f"{field}=nosuch"))


def test_fewer_values_of_a_field() -> None:
    space = SPACES.build("dc720", {"width": [32], "pool": ["max", "avg"]})()
    assert len(space) == 720 // 4 * 2 // 3
    with pytest.raises(InputError, match="different values"):
        SPACES.build("dc720", {"width": [32, 32]})()


def test_multiply_adds_as_counted_by_hand() -> None:
    space = SPACES.build("dc720")()
    genotype = space.decode("width=128 depth=3 norm=instance act=relu pool=avg")
    convolutions = 32 * 32 * 128 * 27 + 16 * 16 * 128 * 128 * 9 + 8 * 8 * 128 * 128 * 9
    assert space.cost(genotype, 3, 10, 32).multiply_adds == convolutions + 128 * 4 * 4 * 10
    assert space.cost(genotype, 3, 10, 32).parameters == 320010  # of the papers' ConvNet-3


def test_cells_are_those_of_nas_bench_201() -> None:
    space = SPACES.build("cell201")()
    every_conv3 = space.decode(" ".join(f"{field}=conv3x3" for field in space.fields))
    parameters, multiply_adds = space.cost(every_conv3, 3, 10, 32)
    assert round(parameters / 1e6, 3) == 1.532 and round(multiply_adds / 1e6, 2) == 220.12  # as its benchmark file lists


def test_images_too_small_for_the_poolings_are_told() -> None:
    space = SPACES.build("dc720")()
    with pytest.raises(InputError, match="need images of 16 pixels"):
        space.build(space.decode("width=32 depth=4 norm=none act=relu pool=max"), 1, 10, 8)


def test_shared_weights_of_enas_become_every_child() -> None:
    """The supernet with a child's choices computes what the child with the same weights does."""
    space = SPACES.build("enas_micro", {"width": 4, "cells": 1, "nodes": 2})()
    assert space.shared is not None
    make, activate = space.shared
    torch.manual_seed(0)
    whole, drawn = make(1, 3).eval(), random.Random(5)
    images = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    outputs = []
    for _ in range(4):
        genotype = space.sample(drawn)
        activate(whole, genotype)
        child = space.build(genotype, 1, 3, SIZE).eval()
        own = child.state_dict()
        for name, value in whole.state_dict().items():
            if ".sides." not in name:
                own[name] = value
        for (name, node), (_, mine) in zip(
            [m for m in whole.named_modules() if hasattr(m[1], "sides")],
            [m for m in child.named_modules() if hasattr(m[1], "sides")],
            strict=True,
        ):
            for side, (source, chosen) in enumerate((node.choices[:2], node.choices[2:])):
                for key, value in node.sides[side][5 * source + chosen].state_dict().items():
                    own[f"{name}.sides.{side}.0.{key}"] = value
            assert mine.choices == node.choices
        child.load_state_dict(own)
        torch.testing.assert_close(whole(images), child(images))
        outputs.append(whole(images))
    assert not torch.equal(outputs[0], outputs[1])
