"""What every registered distillation method promises; a new one is tested by being there."""

import copy
import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dsopt.distillation.contract import Distiller, Synthetic
from dsopt.distillation.recipe import train
from dsopt.errors import InputError
from dsopt.registry import DISTILLERS
from dsopt.seeds import derive

sys.path.append(str(Path(__file__).parent.parent / "distillation"))
from small import batch, problem, tiny

NAMES = DISTILLERS.names()
LEARNING = [name for name in NAMES if DISTILLERS.traits(name).learns]
QUICK = {"bptt": {"length": 6, "window": 3}, "halving": {"rounds": 1}}


def make(name: str, **settings) -> Distiller:
    torch.manual_seed(0)
    return DISTILLERS.build(name, QUICK.get(name))(problem(**settings))


def take_steps(found: Distiller, start: int, stop: int) -> Synthetic:
    """As the loop does it."""
    for step in range(start, stop):
        given = batch(step)
        torch.manual_seed(derive(given.seed, 0))
        numbers = found.update(given)
        assert all(torch.isfinite(value) for value in numbers.values()) and "loss" in numbers
    return Synthetic(*(None if part is None else part.clone() for part in found.synthetic()))


def same(one: Synthetic, other: Synthetic) -> bool:
    return all((a is None and b is None) or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_there_are_the_baselines_and_the_thesis():
    assert {"random", "kmeans", "dd"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_images_and_how_to_train_on_them(name):
    found = make(name, per_class=2)
    assert isinstance(found, Distiller)
    images, labels, soft = found.synthetic()
    assert images.shape == (20, 1, 32, 32) and images.isfinite().all()
    assert labels.tolist() == 2 * list(range(10))
    assert soft is None or soft.shape == (20, 10)
    before, recipe = tiny(), found.recipe()
    recipe = recipe if recipe.rates else replace(recipe, steps=5)
    after = train(copy.deepcopy(before), images, labels if soft is None else soft, recipe, 0)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert DISTILLERS.summary(name)


@pytest.mark.parametrize("name", NAMES)
def test_transforms_are_part_of_how_to_train_on_the_images(name):
    """Of the baselines too, or what is learned would be compared with less training. Or they are refused."""
    try:
        recipe = make(name, augment=("flip",)).recipe()
    except InputError as error:
        assert "trains on its images as they are" in str(error) and make(name).recipe().rates
    else:
        assert recipe.augment == ["flip"]


@pytest.mark.parametrize("name", LEARNING)
def test_steps_change_the_images_and_a_resumed_run_goes_on_exactly(name):
    whole, first = make(name), make(name)
    start = whole.synthetic().images.clone()
    expected = take_steps(whole, 0, 4)
    assert not torch.equal(expected.images, start)
    take_steps(first, 0, 2)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    resumed = make(name)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    assert same(take_steps(resumed, 2, 4), expected)


@pytest.mark.parametrize("name", [name for name in NAMES if not DISTILLERS.traits(name).learns])
def test_baselines_need_enough_images(name):
    with pytest.raises(InputError, match=r"distill.per_class=60: class \d has only \d\d images"):
        make(name, per_class=60)
