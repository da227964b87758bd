"""The methods that use scores only, compared with plain versions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from dsopt.errors import InputError
from dsopt.registry import SELECTORS
from dsopt.selection.balance import allocate
from dsopt.selection.ccs import BINS, ccs
from dsopt.selection.dual import dual

HARDEST_FIRST = ["el2n", "forgetting", "grand"]


def run(name: str, scores: torch.Tensor, budget: int, **options: float) -> list[int]:
    return runs(name, scores, budget, 1, **options)[0]


def runs(name: str, scores: torch.Tensor, budget: int, times: int, **options: float) -> list[list[int]]:
    selector = SELECTORS.build(name, options)
    inputs = torch.empty(len(scores), 0), torch.zeros(len(scores)).long(), budget, torch.Generator().manual_seed(0), scores
    return [selector(*inputs).indices.tolist() for _ in range(times)]


@pytest.mark.slow
@pytest.mark.parametrize("name", HARDEST_FIRST)
@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.integers(0, 4), min_size=1, max_size=20), cut=st.sampled_from([0.0, 0.25, 0.5]), data=st.data())
def test_the_hardest_that_are_left_come_first(name: str, values: list[int], cut: float, data: st.DataObject) -> None:
    budget = data.draw(st.integers(1, len(values)))
    hardest = sorted(range(len(values)), key=lambda i: (-values[i], i))
    first = min(round(cut * len(values)), len(values) - budget)
    scores = torch.tensor(values).float()[:, None]
    assert run(name, scores, budget, cut=cut) == hardest[first : first + budget]


def test_the_easiest_have_the_lowest_loss() -> None:
    assert run("easiest", torch.tensor([[3.0], [0.5], [2.0], [0.5], [0.1]]), 4) == [4, 1, 3, 2]


@pytest.mark.parametrize("name", [*HARDEST_FIRST, "ccs", "d2"])
@pytest.mark.parametrize("cut", [-0.1, 1.0, float("nan")])
def test_a_cut_is_a_share(name: str, cut: float) -> None:
    with pytest.raises(InputError, match="cut="):
        run(name, torch.rand(10, 1), 3, cut=cut)


@pytest.mark.parametrize(("cut", "budget"), [(0.3, 40), (0.0, 7), (0.3, 170), (0.9, 150), (0.3, 200)])
def test_ccs_shares_the_budget_equally_among_bins_without_the_hardest(cut: float, budget: int) -> None:
    margins = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 3
    left = sorted(range(200), key=lambda i: float(margins[i]))[min(round(cut * 200), 200 - budget) :]
    low, high = float(margins[left].min()), float(margins[left].max())
    bin_of = {i: min(int((high - float(margins[i])) / (high - low) * BINS), BINS - 1) for i in left}
    sizes = [sum(b == one for b in bin_of.values()) for one in range(BINS)]
    chosen = run("ccs", margins[:, None], budget, cut=cut)
    assert set(chosen) <= set(left)
    assert [sum(bin_of[i] == one for i in chosen) for one in range(BINS)] == allocate(sizes, budget)


def test_ccs_allocates_as_its_authors_do_but_for_the_remainder() -> None:
    """The authors' allocation: from the smallest bin on, each gets its size or an equal part of the remaining budget."""
    margins = torch.cat([torch.full((size,), float(value)) for value, size in [(0, 3), (20, 40), (50, 9), (99, 100)]])
    chosen = margins[run("ccs", margins[:, None], 62, cut=0.0)]
    assert [int((chosen == value).sum()) for value in (0, 20, 50, 99)] == [3, 25, 9, 25]


def test_ccs_chooses_by_chance_in_a_bin() -> None:
    same = torch.ones(30, 1)
    counts = torch.zeros(30)
    for chosen in runs("ccs", same, 10, 300, cut=0.0):
        counts[chosen] += 1
    assert (counts - 100).abs().max() < 45  # standard deviation 8


def test_ccs_says_the_bin_and_the_margin() -> None:
    margins = torch.arange(100.0)[:, None]
    chosen = ccs(torch.empty(100, 0), torch.zeros(100).long(), 50, torch.Generator(), margins, cut=0.0)
    assert torch.equal(chosen.scores, margins[chosen.indices, 0])
    assert list(chosen.reasons) == [f"bin {b}" for b in range(50)]


def test_dual_draws_in_proportion_to_score_and_beta_density() -> None:
    score = torch.tensor([0.2, 0.1, 0.15, 0.05, 0.0, 0.2])
    mean = torch.tensor([0.5, 0.7, 0.9, 0.3, 0.6, 0.8])
    kept = 1 / 6
    start = float(mean.mean())  # fewer than ten rows: all are the top
    b = 15 * (1 - start) * (1 - (1 - kept) ** 2)
    weights = score * torch.from_numpy(beta(16 - b, b).pdf(mean.numpy()))
    table = torch.stack([score, mean], 1)
    counts = torch.zeros(6)
    for (chosen,) in runs("dual", table, 1, 1500, exponent=2.0):
        counts[chosen] += 1
    expected = 1500 * weights / weights.sum()
    assert counts[4] == 0
    assert ((counts - expected).square() / expected.clamp_min(1)).sum() < 20  # chi-squared, 4 degrees: above 20 once in 2,000


def test_dual_starts_from_the_ten_of_highest_score() -> None:
    """The others, a thousand easy ones, must not move the Beta distribution."""
    mean = torch.cat([torch.full((10,), 0.2), torch.full((500,), 0.25), torch.full((500,), 0.95)])
    score = torch.cat([torch.full((10,), 0.3), torch.full((1000,), 0.1)])
    chosen = run("dual", torch.stack([score, mean], 1), 700)
    hard = sum(10 <= i < 510 for i in chosen)
    assert hard > 450  # with mu' = 0.6, the mean of all, it would be fewer than half


def test_dual_takes_easier_images_where_the_budget_is_small() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(2000, generator=generator)
    score = (mean * (1 - mean)).sqrt() * (1 - mean)
    table = torch.stack([score, mean], 1)
    few, many = (mean[run("dual", table, budget)].mean() for budget in (100, 1000))
    assert few > many + 0.05


def test_dual_fills_up_with_rows_of_no_weight_in_order() -> None:
    table = torch.tensor([[0.0, 0.5], [0.2, 0.5], [0.0, 0.5], [0.0, 1.0], [0.1, 0.0]])
    chosen = run("dual", table, 4)
    assert set(chosen[:2]) == {1, 4} and chosen[2:] == [0, 2]
    assert sorted(run("dual", torch.zeros(5, 2), 5)) == [0, 1, 2, 3, 4]


def test_dual_scores_are_those_given() -> None:
    table = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    chosen = dual(torch.empty(20, 0), torch.zeros(20).long(), 8, torch.Generator(), table)
    assert torch.equal(chosen.scores, table[chosen.indices, 0])


def test_random_images_among_the_easy_ones() -> None:
    scores = torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    easy = set(scores[:, 0].argsort(descending=True)[:80].tolist())
    chosen = run("random_easy", scores, 40, cut=0.6)
    assert set(chosen) <= easy and len(set(chosen)) == 40 and chosen != sorted(chosen, key=lambda i: -scores[i, 0])
    assert set(run("random_easy", scores, 80, cut=0.6)) == easy
    assert len(set(run("random_easy", scores, 150, cut=0.6))) == 150  # no more is left out than the budget allows
