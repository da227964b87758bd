"""Ranking quality compared with SciPy, with results by hand, and with simulations."""

import itertools
import math

import pytest
import torch
from scipy import stats

from dsopt.search import rank_quality


def draws(n: int, ties: bool, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(n, generator=generator, dtype=torch.float64)
    proxy = truth + 0.5 * torch.rand(n, generator=generator, dtype=torch.float64)
    return ((proxy * 7).round() / 7, (truth * 5).round() / 5) if ties else (proxy, truth)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [2, 3, 30, 101])
def test_correlations_are_scipys(n: int, ties: bool) -> None:
    proxy, truth = draws(n, ties, seed=n)
    if len(set(proxy.tolist())) > 1 and len(set(truth.tolist())) > 1:
        assert rank_quality.spearman(proxy, truth) == pytest.approx(stats.spearmanr(proxy, truth).statistic, abs=1e-12)
        assert rank_quality.kendall(proxy, truth) == pytest.approx(stats.kendalltau(proxy, truth).statistic, abs=1e-12)
    assert rank_quality.ranks(proxy).tolist() == stats.rankdata(proxy).tolist()


def test_a_constant_proxy_says_nothing() -> None:
    truth = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    assert (
        rank_quality.spearman(torch.ones(3, dtype=torch.float64), truth) == 0 == rank_quality.kendall(truth, torch.ones_like(truth))
    )


def test_sparse_kendall_takes_small_differences_for_none() -> None:
    truth = torch.tensor([0.9001, 0.9003, 0.95], dtype=torch.float64)
    proxy = torch.tensor([0.8, 0.7, 0.9], dtype=torch.float64)
    assert rank_quality.kendall(proxy, truth) == pytest.approx(1 / 3)
    assert rank_quality.sparse_kendall(proxy, truth) == pytest.approx(2 / math.sqrt(2 * 3))


def test_on_the_best_by_hand() -> None:
    truth = torch.arange(20, dtype=torch.float64)
    proxy = truth.clone()
    proxy[-4:] = proxy[-4:].flip(0)  # disorder at the top alone
    assert rank_quality.spearman(proxy, truth) > 0.95
    assert rank_quality.on_top(rank_quality.spearman, 0.2)(proxy, truth) == pytest.approx(-1)
    assert rank_quality.precision_at(5)(proxy, truth) == 1
    assert rank_quality.precision_at(2)(proxy, truth) == 0
    assert rank_quality.regret_at(1)(proxy, truth) == 3 and rank_quality.regret_at(3)(proxy, truth) == 1
    assert rank_quality.regret_at(5)(proxy, truth) == 0


def test_chance_regret_is_the_mean_over_all_picks() -> None:
    truth = torch.tensor([0.3, 0.9, 0.5, 0.9, 0.1, 0.7], dtype=torch.float64)
    for k in (1, 2, 5, 6):
        picks = list(itertools.combinations(truth.tolist(), k))
        expected = 0.9 - sum(map(max, picks)) / len(picks)
        assert rank_quality.chance_regret(truth, k) == pytest.approx(expected, abs=1e-12)


def test_intervals_hold_the_value_and_narrow_with_children() -> None:
    widths = []
    for n in (20, 200):
        proxy, truth = draws(n, False, seed=1)
        found = rank_quality.estimate(rank_quality.spearman, [proxy], truth, draws=200)
        assert found.low < found.value < found.high and found == rank_quality.estimate(
            rank_quality.spearman, [proxy], truth, draws=200
        )
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2
    several = rank_quality.estimate(rank_quality.spearman, [proxy, -proxy], truth, draws=50)
    assert several.value == pytest.approx(0, abs=1e-12)


def test_the_ceiling_is_what_one_seed_says_of_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(300, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    assert rank_quality.seed_ceiling(true.expand(-1, 3)) == pytest.approx(1)
    assert 0.9 < rank_quality.seed_ceiling(true + 0.05 * noise) < 1
    assert abs(rank_quality.seed_ceiling(noise)) < 0.15
    assert math.isnan(rank_quality.seed_ceiling(true))


def test_failures_count_as_the_worst() -> None:
    proxy = torch.tensor([0.5, torch.nan, 0.1], dtype=torch.float64)
    assert rank_quality.best(rank_quality.failed_last(proxy), 3).tolist() == [0, 2, 1]
    assert rank_quality.comparable(proxy).tolist() == [True, False, True]


@pytest.mark.parametrize("count", [2, 3, 60, 719])
def test_halves_are_by_chance_and_by_the_seed(count: int) -> None:
    dev = rank_quality.halves(count, 5)
    assert int(dev.sum()) == count // 2 and len(dev) == count and torch.equal(dev, rank_quality.halves(count, 5))
    often = torch.stack([rank_quality.halves(count, seed) for seed in range(400)]).double().mean(0)
    assert (often - count // 2 / count).abs().max() < 5 * 0.5 / 400**0.5  # every child as often as any other


def test_what_serves() -> None:
    assert rank_quality.serves(0.81, 0.004, ceiling=0.9) and rank_quality.serves(0.9, 0.005, ceiling=math.nan)
    assert not rank_quality.serves(0.80, 0.004, ceiling=0.9) and not rank_quality.serves(0.89, 0.0, ceiling=math.nan)
    assert not rank_quality.serves(0.9, 0.006, ceiling=0.9)
    assert not rank_quality.serves(0.9, 0.0, ceiling=-0.1) and not rank_quality.serves(
        0.0, 0.0, ceiling=0.0
    )  # nothing can be ranked there


def test_break_even() -> None:
    assert rank_quality.break_even(40.0, 1.0, 5.0) == 10 and rank_quality.break_even(0.0, 1.0, 5.0) == 0
    assert rank_quality.break_even(1.0, 5.0, 5.0) == math.inf
