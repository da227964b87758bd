"""From bytes to what a network takes, in one piece and split over workers."""

import itertools

import pytest
import torch

from dsopt.augment import draws
from dsopt.augment.inputs import make_inputs, mixes
from dsopt.augment.light import standardise
from dsopt.registry import AUGMENTATIONS

CPU = torch.device("cpu")
ALL = ["crop", "flip", "brightness", "contrast"]


@pytest.fixture
def images() -> torch.Tensor:
    pixels = torch.randint(0, 256, (20, 3, 32, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bounds", [[0, 10, 20], [0, 6, 13, 20]])
def test_a_split_batch_is_transformed_as_in_one_piece(images, bounds):
    inputs = make_inputs([name for name in AUGMENTATIONS.names() if not mixes(name)], 24, "deviation")
    whole = inputs.train(images, draws(7, 20, 0, 20, CPU))
    spans = itertools.pairwise(bounds)
    parts = [inputs.train(images[start:stop], draws(7, 20, start, stop, CPU)) for start, stop in spans]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)


def test_draws_differ_by_image_call_and_seed():
    draw = draws(0, 1000, 0, 1000, CPU)
    first, second = draw(), draw()
    assert len(first.unique()) > 990 and not torch.equal(first, second)
    assert 0 <= float(first.min()) < 0.01 and 0.99 < float(first.max()) < 1
    assert torch.equal(draws(0, 1000, 0, 1000, CPU)(), first) and not torch.equal(draws(1, 1000, 0, 1000, CPU)(), first)


def test_inputs_for_tests_are_the_standardised_centre(images):
    expected = images[:, :, 4:28, 3:27].float() / 255
    torch.testing.assert_close(make_inputs(ALL, 24, None).test(images), expected)
    for by in ("deviation", "variance"):
        torch.testing.assert_close(make_inputs(ALL, 24, by).test(images), standardise(expected, by))


def test_training_inputs(images):
    inputs = make_inputs(ALL, 20, "deviation").train(images, draws(0, 20, 0, 20, CPU))
    assert inputs.shape == (20, 3, 20, 20) and inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(inputs.mean((1, 2, 3)), torch.zeros(20), rtol=0, atol=1e-5)
    torch.testing.assert_close(inputs.std((1, 2, 3), correction=0), torch.ones(20), rtol=0, atol=1e-4)


def test_transforms_have_options(images):
    one = make_inputs(["crop(size=24)", "flip"], 20, None).train(images, draws(0, 20, 0, 20, CPU))
    assert one.shape == (20, 3, 20, 20) and not torch.equal(
        one, make_inputs(["crop", "flip"], 20, None).train(images, draws(0, 20, 0, 20, CPU))
    )
    still = make_inputs(["shift(most=0)"], 24, None)
    assert torch.equal(still.train(images, draws(0, 20, 0, 20, CPU)), still.test(images))
    assert mixes("mixup(alpha=0.2)") and make_inputs(["mixup(alpha=0.2)"], 24, None, 10).mix


def test_without_augmentation_training_and_test_are_the_same(images):
    inputs = make_inputs([], 24, "deviation")
    assert torch.equal(inputs.train(images, draws(0, 20, 0, 20, CPU)), inputs.test(images))


def test_without_standardisation_inputs_lie_in_0_to_1_on_their_grid(images):
    inputs = make_inputs(["crop", "flip"], 24, None).train(images, draws(0, 20, 0, 20, CPU))
    torch.testing.assert_close((inputs * 255).round() / 255, inputs)
    assert float(inputs.min()) == 0 and float(inputs.max()) == 1
