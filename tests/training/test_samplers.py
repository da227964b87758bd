"""Which images a step sees."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsopt.errors import InputError
from dsopt.training.dynamics import SCORES
from dsopt.training.samplers import Sampler
from dsopt.training.samplers.contract import Score
from dsopt.training.samplers.easy_to_hard import EASY_IF_HIGH, easy_to_hard
from dsopt.training.samplers.infobatch import infobatch
from dsopt.training.samplers.loss_topk import loss_topk
from dsopt.training.samplers.rs2 import rs2
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.samplers.weighted import weighted


def shown(sampler: Sampler, steps: int) -> Tensor:
    return torch.cat([sampler(step).indices for step in range(steps)])


def test_scores_are_those_of_a_proxy() -> None:
    assert set(get_args(Score)) == set(SCORES) - {"probability"}  # which is a list


# --- shuffle -------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 40), batch=st.integers(1, 60), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_shuffle_shows_each_image_once_before_any_again(n: int, batch: int, seed: int) -> None:
    indices = shuffle(n, batch, seed)
    found = shown(indices, 6)
    assert len(found) == 6 * batch
    for start in range(0, len(found) - n + 1, n):
        assert sorted(found[start : start + n].tolist()) == list(range(n))
    assert torch.equal(indices(2).indices, shuffle(n, batch, seed)(2).indices)  # of the step alone


def test_seeds_and_epochs_differ() -> None:
    one, other = shuffle(100, 100, 0), shuffle(100, 100, 1)
    assert not torch.equal(one(0).indices, one(1).indices) and not torch.equal(one(0).indices, other(0).indices)


# --- rs2 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [10, 7, 64])
def test_rs2_without_replacement_shows_all_images_once_in_a_cycle_of_rounds(batch: int) -> None:
    found = shown(rs2(100, batch, 0, fraction=0.2), 600 // batch)
    for start in range(0, len(found) - 99, 100):
        assert sorted(found[start : start + 100].tolist()) == list(range(100))


@pytest.mark.parametrize("batch", [10, 7, 64])
def test_rs2_with_replacement_draws_every_round_anew(batch: int) -> None:
    found = shown(rs2(100, batch, 0, fraction=0.2, replacement=True), 4000 // batch)
    rounds = found[: len(found) // 20 * 20].view(-1, 20)
    assert all(len(each.unique()) == 20 for each in rounds)
    cycles = found[: len(found) // 100 * 100].view(-1, 100)
    union = sum(len(cycle.unique()) for cycle in cycles) / len(cycles)
    assert union == pytest.approx(100 * (1 - 0.8**5), abs=2)  # five independent rounds of a fifth
    assert not torch.equal(rounds[0], rounds[1])


@pytest.mark.parametrize("fraction", [0.0, 1.5, -1.0])
def test_rs2_refuses_fractions_that_are_none(fraction: float) -> None:
    with pytest.raises(InputError, match="fraction"):
        rs2(10, 5, 0, fraction=fraction)


# --- weighted ------------------------------------------------------------------------------------------------------

FOUR = torch.tensor([0.0, 1.0, 2.0, 5.0])


@pytest.mark.parametrize("power", [1.0, 2.0, 0.0])
def test_weighted_with_replacement_draws_in_proportion(power: float) -> None:
    found = shown(weighted(4, 50, 0, {"el2n": FOUR}, power=power, replacement=True, fraction=1.0), 400)
    expected = FOUR**power / (FOUR**power).sum()
    torch.testing.assert_close(torch.bincount(found, minlength=4) / len(found), expected, atol=0.012, rtol=0)


def test_weighted_without_replacement_has_each_image_once_in_a_round_the_likely_ones_first() -> None:
    rounds = shown(weighted(4, 8, 0, {"loss": FOUR}, score="loss", fraction=1.0), 1500).view(-1, 4)
    assert (rounds.sort(1).values == torch.arange(4)).all()
    assert (rounds[:, 3] == 0).all()  # of probability 0: after all others
    first = torch.bincount(rounds[:, 0], minlength=4) / len(rounds)
    torch.testing.assert_close(first, FOUR / 8, atol=0.025, rtol=0)
    second = torch.bincount(rounds[:, 1], minlength=4) / len(rounds)  # one after another, from those left
    expected = sum(FOUR[i] / 8 * (FOUR * (torch.arange(4) != i)) / (8 - FOUR[i]) for i in range(1, 4))
    torch.testing.assert_close(second, expected, atol=0.025, rtol=0)


def test_weighted_rounds_are_a_fraction() -> None:
    found = shown(weighted(100, 10, 0, {"el2n": torch.rand(100) + 0.1}, fraction=0.3), 30).view(-1, 30)
    assert all(len(each.unique()) == 30 for each in found)
    assert any(len(found[i : i + 2].unique()) < 60 for i in range(9))


@pytest.mark.parametrize(("scores", "power"), [([-1.0, 2.0], 1.0), ([0.0, 0.0], 1.0), ([0.0, 1.0], -1.0), ([1.0, torch.nan], 1.0)])
def test_weighted_refuses_what_is_no_probability(scores: list[float], power: float) -> None:
    with pytest.raises(InputError, match="no probability"):
        weighted(2, 1, 0, {"el2n": torch.tensor(scores)}, power=power)


# --- easy_to_hard --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", get_args(Score))
def test_easy_to_hard_begins_with_the_easiest_and_ends_with_all(score: str) -> None:
    difficulty = torch.rand(30, generator=torch.Generator().manual_seed(1))
    scores = {score: -difficulty if score in EASY_IF_HIGH else difficulty}
    sampler = easy_to_hard(30, 5, 0, 100, scores, score=score, start=1 / 3, until=0.5)
    easiest = difficulty.argsort()
    assert set(shown(sampler, 2).tolist()) == set(easiest[:10].tolist())  # a third, each once
    for step in range(100):
        share = min(1.0, 1 / 3 + 2 / 3 * step / 50)
        assert set(sampler(step).indices.tolist()) <= set(easiest[: round(30 * share)].tolist())
    for step in range(60, 90, 6):
        later = torch.cat([sampler(s).indices for s in range(step, step + 12)])
        assert set(later.tolist()) == set(range(30))


def test_easy_to_hard_shows_each_image_of_a_round_once() -> None:
    scores = {"el2n": torch.arange(12.0)}
    found = shown(easy_to_hard(12, 4, 0, 10, scores, start=0.5, until=1.0), 10).tolist()
    position = 0
    while position < 36:
        size = round(12 * (0.5 + 0.5 * (position // 4) / 10))
        if position + size <= 40:
            assert sorted(found[position : position + size]) == list(range(size))
        position += size


# --- infobatch -----------------------------------------------------------------------------------------------------


def second_epoch(losses: Tensor, seed: int = 0, r: float = 0.5) -> tuple[Tensor, Tensor]:
    """Images and weights of the second epoch, after a first in which every image had its loss; four batches each, at most."""
    n, batch = len(losses), len(losses) // 4
    sampler, first = infobatch(n, batch, seed, 1000, r=r), []
    for step in range(4):
        draw = sampler(step)
        assert draw.weights is not None and (draw.weights == 1).all()
        first += draw.indices.tolist()
        sampler.observe(draw.indices, losses[draw.indices])
    assert sorted(first) == list(range(n))
    sampler(4)
    state = sampler.state_dict()
    return state["order"], state["weights"]


def test_infobatch_leaves_out_half_of_the_learnt_and_lets_the_others_count_for_them() -> None:
    losses = torch.cat([torch.full((300,), 0.1), torch.full((100,), 2.0)])
    order, weights = second_epoch(losses)
    assert len(order.unique()) == len(order)
    assert torch.equal(weights, torch.where(order < 300, 2.0, 1.0))
    assert (order >= 300).sum() == 100 and 120 < (order < 300).sum() < 180
    assert not torch.equal(order, order.sort().values)


@pytest.mark.slow
def test_infobatch_is_unbiased() -> None:
    """The expected weighted sum of an epoch's losses is the sum over all images, and every image's expected weight is 1."""
    losses = torch.rand(60, generator=torch.Generator().manual_seed(0))
    sums, counts, seeds = 0.0, torch.zeros(60), 800
    for seed in range(seeds):
        order, weights = second_epoch(losses, seed, r=0.4)
        sums += float((weights * losses[order]).sum())
        counts[order] += weights
    assert sums / seeds == pytest.approx(float(losses.sum()), rel=0.01)
    torch.testing.assert_close(counts / seeds, torch.ones(60), atol=0.12, rtol=0)  # some four standard errors


def test_infobatch_leaves_nothing_out_in_the_end() -> None:
    n, steps = 40, 100
    losses = torch.linspace(0, 1, n)
    sampler = infobatch(n, 10, 0, steps, r=0.5, delta=0.6)
    before, after = set(), []
    for step in range(steps):
        draw = sampler(step)
        (before.update if step < 60 else after.extend)(draw.weights.tolist())  # type: ignore[union-attr]
        sampler.observe(draw.indices, losses[draw.indices])
    assert before == {1.0, 2.0}
    assert set(after[40:]) == {1.0}  # the epoch that had begun before is ended as it began


def test_infobatch_keeps_everything_where_all_losses_are_equal() -> None:
    sampler = infobatch(30, 10, 0, 100)
    for step in range(9):
        draw = sampler(step)
        assert (draw.weights == 1).all()
        sampler.observe(draw.indices, torch.full((10,), 0.1))


@pytest.mark.parametrize("r", [1.0, -0.1])
def test_infobatch_refuses_to_leave_out_everything(r: float) -> None:
    with pytest.raises(InputError, match="r="):
        infobatch(10, 5, 0, 100, r=r)


# --- loss_topk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.0, 1.5])
def test_loss_topk_refuses_shares_that_are_none(keep: float) -> None:
    with pytest.raises(InputError, match="keep"):
        loss_topk(10, 5, 0, lambda width: None, keep=keep)  # type: ignore[arg-type,return-value]
