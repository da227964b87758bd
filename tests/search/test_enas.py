"""Shared weights and their controller: the order of steps, which weights a step changes, and that the controller learns."""

import copy

import torch

from dsopt.data.batches import Batch
from dsopt.models.child_cells import OPERATIONS
from dsopt.registry import SPACES
from dsopt.search.enas.controller import Reinforce, Uniform
from dsopt.search.enas.shared import SharedWeights, Turns

CPU = torch.device("cpu")
SIZES = [5] * 6


def test_turns_go_round() -> None:
    turns = Turns(3, 2, 2)
    assert len(turns) == 10
    expected = [("weights", 0), ("weights", 1), ("weights", 2), ("controller", 0), ("controller", 1)]
    assert [turns.at(step) for step in range(5)] == expected
    assert turns.at(5) == ("weights", 3) and turns.at(9) == ("controller", 3)


def test_the_controller_starts_fair_and_learns_what_pays() -> None:
    torch.manual_seed(0)
    controller = Reinforce(SIZES, 0.0035, CPU)
    with torch.no_grad():
        first = controller.sample(2000).genotypes
    assert first.shape == (2000, 6)
    assert all(0.15 < float((first == place).double().mean()) < 0.25 for place in range(5))
    controller = Reinforce(SIZES, 0.02, CPU)
    for _ in range(80):
        named = controller.sample(10)
        controller.learn(named, (named.genotypes == 3).float().mean(1))
    with torch.no_grad():
        after = controller.sample(2000)
    assert float((after.genotypes == 3).double().mean()) > 0.32  # its logits are bounded: at most 0.37
    assert after.log_probability.shape == after.entropy.shape == (2000,)
    assert bool((after.entropy < 6 * torch.log(torch.tensor(5.0))).all())


def test_the_probability_is_that_of_what_was_named() -> None:
    torch.manual_seed(1)
    controller = Reinforce([2, 2], 0.0035, CPU)
    with torch.no_grad():
        named = controller.sample(20000)
    for genotype in ([0, 0], [0, 1], [1, 0], [1, 1]):
        mine = (named.genotypes == torch.tensor(genotype)).all(1)
        assert abs(float(named.log_probability[mine][0].exp()) - float(mine.double().mean())) < 0.015


def learner(controller: str) -> SharedWeights:
    torch.manual_seed(0)
    space = SPACES.build("cell201", {"width": 4, "cells": 1})()
    assert space.shared
    own = Uniform(space.sizes, CPU) if controller == "uniform" else Reinforce(space.sizes, 0.0035, CPU)
    return SharedWeights(space, space.shared[0](1, 10), own, Turns(2, 1, 3), 3, CPU)


def batch(seed: int) -> Batch:
    drawn = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(16, 1, 8, 8, generator=drawn), torch.randint(10, (16,), generator=drawn), seed)


def weights(of: SharedWeights) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in of.networks["shared"].named_parameters()}


def test_a_step_trains_one_child_and_the_controller_none() -> None:
    mine = learner("uniform")
    before = weights(mine)
    mine.update(batch(0))
    active = mine.networks["shared"][2].edges
    changed = {name for name, value in weights(mine).items() if not torch.equal(value, before[name])}
    for number, edge in enumerate(active):
        for place, name in enumerate(OPERATIONS):
            if name.startswith("conv") and place != edge.active:
                assert not any(f"2.edges.{number}.operations.{place}." in key for key in changed)
    assert any(key.startswith("0.") for key in changed)
    mine.update(batch(1))
    before = weights(mine)
    mine.update(batch(2))  # the controller's turn
    assert all(torch.equal(value, before[name]) for name, value in weights(mine).items())
    assert len(mine.rewards) == 1 and mine.rewards[0][0] == 3


def test_its_whole_state_comes_back() -> None:
    first, second = learner("reinforce"), learner("reinforce")
    for step in range(4):
        torch.manual_seed(step)
        first.update(batch(step))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(4, 9):
        for one in (first, second):
            torch.manual_seed(step)
            one.update(batch(step))
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
    assert first.rewards == second.rewards and len(first.rewards) == 3
