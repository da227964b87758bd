"""How well a proxy ranks children, compared with their true accuracies: pure functions of two vectors.

A child whose training failed has the accuracy nan. With a proxy it counts as the worst (`failed_last`); without a true accuracy it
is left out (`comparable`). Ties are broken by order, which is random, since children are drawn at random.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Vector = Float[Tensor, " n"]
RankMeasure = Callable[[Tensor, Tensor], float]  # (proxy [n], truth [n]) -> value

SPARSE = 0.001  # smaller differences of accuracy count as ties: NAS-Bench-201's sparse Kendall tau has bins of 0.1 %
LOW_CEILING = 0.5  # with a lower seed ceiling, accuracies vary about as much between seeds as between children
MIN_CEILING_SHARE, MAX_REGRET = 0.9, 0.005  # a proxy is good enough with this share of the seed ceiling, and at most this regret@5


def ranks(values: Vector) -> Vector:
    """Ranks from 1 for the smallest value; equal values share the mean of their ranks."""
    below = (values[:, None] > values).sum(1)
    equal = (values[:, None] == values).sum(1)
    return below + (equal + 1).double() / 2


def spearman(proxy: Vector, truth: Vector) -> float:
    """Spearman's rank correlation; 0 if a vector is constant."""
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (proxy, truth))
    scale = a.norm() * b.norm()
    return float(a @ b / scale) if scale > 0 else 0.0


def kendall(proxy: Vector, truth: Vector) -> float:
    """Kendall's tau-b: concordant minus discordant pairs, normalized for ties in both vectors; 0 if a vector is constant."""
    a, b = (torch.sign(values[:, None] - values).double() for values in (proxy, truth))
    scale = a.norm() * b.norm()
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def sparse_kendall(proxy: Vector, truth: Vector, *, bin: float = SPARSE) -> float:
    """Kendall's tau of accuracies rounded to multiples of `bin`."""
    return kendall((proxy / bin).round(), (truth / bin).round())


def best(values: Vector, count: int) -> Int[Tensor, " k"]:
    """The indices of the `count` largest values; ties in order."""
    return values.argsort(descending=True, stable=True)[:count]


def on_top(measure: RankMeasure, share: float) -> RankMeasure:
    """A measure restricted to the `share` of the children with the highest true accuracies, at least two."""

    def on_the_best(proxy: Tensor, truth: Tensor) -> float:
        kept = best(truth, max(2, round(share * len(truth))))
        return measure(proxy[kept], truth[kept])

    return on_the_best


def precision_at(k: int) -> RankMeasure:
    """The share of the proxy's best k children that are among the truly best k."""

    def precision(proxy: Tensor, truth: Tensor) -> float:
        picked, correct = best(proxy, k), best(truth, k)
        return float(torch.isin(picked, correct).double().mean())

    return precision


def regret_at(k: int) -> RankMeasure:
    """The true accuracy of the truly best child minus the best true accuracy among the proxy's best k children."""

    def regret(proxy: Tensor, truth: Tensor) -> float:
        return float(truth.max() - truth[best(proxy, k)].max())

    return regret


MEASURES: dict[str, RankMeasure] = {
    "spearman": spearman,
    "kendall": kendall,
    "kendall_sparse": sparse_kendall,
    "spearman_top20": on_top(spearman, 0.2),
    "spearman_top10": on_top(spearman, 0.1),
    "kendall_top20": on_top(kendall, 0.2),
    "kendall_top10": on_top(kendall, 0.1),
    "precision_at_5": precision_at(5),
    "regret_at_1": regret_at(1),
    "regret_at_5": regret_at(5),
}


def comparable(truth: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Whether the true accuracy of each child is known."""
    return truth.isfinite()


def failed_last(proxy: Vector) -> Vector:
    """Replace nan by a value below all accuracies."""
    return torch.where(proxy.isfinite(), proxy, torch.full_like(proxy, -torch.inf)).nan_to_num(neginf=-1.0)


class Estimate(NamedTuple):
    """A value with its confidence interval."""

    value: float
    low: float
    high: float


def estimate(
    measure: RankMeasure, proxies: Sequence[Tensor], truth: Vector, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """A measure's mean over the draws of a proxy, with a percentile bootstrap interval over the children (Efron 1979).

    Args:
        proxies: one vector per draw of the proxy.
        draws: the number of bootstrap samples.
        level: the coverage of the interval.
    """
    generator = torch.Generator().manual_seed(seed)

    def mean(rows: Tensor) -> float:
        return sum(measure(proxy[rows], truth[rows]) for proxy in proxies) / len(proxies)

    n = len(truth)
    found = torch.tensor([mean(torch.randint(n, (n,), generator=generator)) for _ in range(draws)], dtype=torch.float64)
    low, high = found.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return Estimate(mean(torch.arange(n)), low, high)


def seed_ceiling(accuracies: Float[Tensor, "n seeds"], measure: RankMeasure = spearman) -> float:
    """The mean of a measure between the true accuracies of one seed and the mean of the other seeds; nan with a single seed.

    It is an upper bound for proxies: none can be expected to predict the truth better than another seed does.
    """
    seeds = accuracies.shape[1]
    if seeds < 2:
        return float("nan")
    others = (accuracies.sum(1, keepdim=True) - accuracies) / (seeds - 1)
    return sum(measure(accuracies[:, seed], others[:, seed]) for seed in range(seeds)) / seeds


def chance_regret(truth: Vector, k: int) -> float:
    """The exact expected regret of k children picked at random: the best of them has rank r with a known probability."""
    ordered = truth.sort(descending=True).values
    n, left, expected = len(ordered), 1.0, 0.0
    for place, value in enumerate(ordered.tolist()):
        hit = min(1.0, k / (n - place))  # the probability that this child is picked, given that no better one was
        expected += left * hit * value
        left *= 1 - hit
        if left <= 0:
            break
    return float(ordered[0]) - expected


def halves(count: int, seed: int) -> Bool[Tensor, " n"]:
    """A random half of `count` children, as a mask: proxies are chosen on this dev half and evaluated on the other."""
    dev = torch.zeros(count, dtype=torch.bool)
    dev[torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: count // 2]] = True
    return dev


def serves(spearman: float, regret: float, ceiling: float) -> bool:
    """Whether a proxy's ranking is good enough, by Spearman's correlation and regret@5 (in 0..1).

    The correlation is compared with the seed ceiling (nan counts as 1). With a ceiling of 0 or below, no ranking is good enough:
    the true accuracies themselves do not rank the children.
    """
    wanted = MIN_CEILING_SHARE * ceiling if math.isfinite(ceiling) else MIN_CEILING_SHARE
    return 0 < wanted <= spearman and regret <= MAX_REGRET


def break_even(making: float, proxy_each: float, full_each: float) -> float:
    """The number of children from which on a proxy is cheaper than full training; inf if never. Costs are in device seconds."""
    return making / (full_each - proxy_each) if proxy_each < full_each else float("inf")
