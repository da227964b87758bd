"""How well a proxy's accuracies rank children, against the true ones: pure functions on two vectors.

A child that failed has nan: under the proxy it counts as the worst; without a truth it does not count (`comparable`). Among equals
the one that was drawn first is picked first, which is chance, as children are drawn by chance.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Vector = Float[Tensor, " n"]
Measure = Callable[[Tensor, Tensor], float]  # (proxy [n], truth [n]) -> value

SPARSE = 0.001  # accuracies that differ by less are one: NAS-Bench-201's sparse Kendall bins at 0.1 %
DOUBTFUL = 0.5  # a seed ceiling below it: trainings of one child differ about as much as children do
ENOUGH, LOST = 0.9, 0.005  # a proxy serves that has this share of the seed ceiling, and at most this regret@5


def ranks(values: Vector) -> Vector:
    """1 for the smallest; equals share the mean of their places."""
    below = (values[:, None] > values).sum(1)
    equal = (values[:, None] == values).sum(1)
    return below + (equal + 1).double() / 2


def spearman(proxy: Vector, truth: Vector) -> float:
    """The correlation of ranks; 0 where one of the vectors is constant."""
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (proxy, truth))
    scale = a.norm() * b.norm()
    return float(a @ b / scale) if scale > 0 else 0.0


def kendall(proxy: Vector, truth: Vector) -> float:
    """Kendall's tau-b: agreeing minus disagreeing pairs, ties taken out on both sides; 0 where one vector is constant."""
    a, b = (torch.sign(values[:, None] - values).double() for values in (proxy, truth))
    scale = a.norm() * b.norm()
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def sparse_kendall(proxy: Vector, truth: Vector, *, bin: float = SPARSE) -> float:
    """Kendall's tau of accuracies rounded to multiples of `bin`."""
    return kendall((proxy / bin).round(), (truth / bin).round())


def best(values: Vector, count: int) -> Int[Tensor, " k"]:
    """The places of the `count` largest, the first of equals first."""
    return values.argsort(descending=True, stable=True)[:count]


def on_top(measure: Measure, share: float) -> Measure:
    """A measure among the truly best `share` of the children, at least two."""

    def on_the_best(proxy: Tensor, truth: Tensor) -> float:
        kept = best(truth, max(2, round(share * len(truth))))
        return measure(proxy[kept], truth[kept])

    return on_the_best


def precision_at(k: int) -> Measure:
    """Which share of the k picks is among the truly best k."""

    def precision(proxy: Tensor, truth: Tensor) -> float:
        picked, right = best(proxy, k), best(truth, k)
        return float(torch.isin(picked, right).double().mean())

    return precision


def regret_at(k: int) -> Measure:
    """What the best of the k picks lacks to the truly best child, in the unit of the truth."""

    def regret(proxy: Tensor, truth: Tensor) -> float:
        return float(truth.max() - truth[best(proxy, k)].max())

    return regret


MEASURES: dict[str, Measure] = {
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
    """The children whose truth is known."""
    return truth.isfinite()


def failed_last(proxy: Vector) -> Vector:
    """Below all others instead of nan."""
    return torch.where(proxy.isfinite(), proxy, torch.full_like(proxy, -torch.inf)).nan_to_num(neginf=-1.0)


class Estimate(NamedTuple):
    value: float
    low: float
    high: float


def estimate(
    measure: Measure, proxies: Sequence[Tensor], truth: Vector, *, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """A measure's mean over several draws of a proxy, with a percentile bootstrap interval over the children (Efron 1979)."""
    generator = torch.Generator().manual_seed(seed)

    def mean(rows: Tensor) -> float:
        return sum(measure(proxy[rows], truth[rows]) for proxy in proxies) / len(proxies)

    n = len(truth)
    found = torch.tensor([mean(torch.randint(n, (n,), generator=generator)) for _ in range(draws)], dtype=torch.float64)
    low, high = found.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return Estimate(mean(torch.arange(n)), low, high)


def seed_ceiling(accuracies: Float[Tensor, "n seeds"], measure: Measure = spearman) -> float:
    """What a measure gives for one seed's truth against the mean of the others: no proxy can be expected to do better.

    nan with a single seed.
    """
    seeds = accuracies.shape[1]
    if seeds < 2:
        return float("nan")
    others = (accuracies.sum(1, keepdim=True) - accuracies) / (seeds - 1)
    return sum(measure(accuracies[:, seed], others[:, seed]) for seed in range(seeds)) / seeds


def chance_regret(truth: Vector, k: int) -> float:
    """The expected regret of k children picked by chance, exactly: the best of them has rank r with a known probability."""
    ordered = truth.sort(descending=True).values
    n, left, expected = len(ordered), 1.0, 0.0
    for place, value in enumerate(ordered.tolist()):
        hit = min(1.0, k / (n - place))  # that this one is picked if none of the better ones was
        expected += left * hit * value
        left *= 1 - hit
        if left <= 0:
            break
    return float(ordered[0]) - expected


def halves(count: int, seed: int) -> Bool[Tensor, " n"]:
    """Which of so many children are the dev half, by chance: proxies are chosen on it, and judged by the others."""
    dev = torch.zeros(count, dtype=torch.bool)
    dev[torch.randperm(count, generator=torch.Generator().manual_seed(seed))[: count // 2]] = True
    return dev


def serves(spearman: float, regret: float, ceiling: float) -> bool:
    """Whether a ranking is good enough: Spearman's correlation for the ceiling (nan: 1 is taken), and regret@5 in 0..1.

    None is where the ceiling is not above 0: there the truth ranks nothing.
    """
    wanted = ENOUGH * ceiling if math.isfinite(ceiling) else ENOUGH
    return 0 < wanted <= spearman and regret <= LOST


def break_even(making: float, proxy_each: float, full_each: float) -> float:
    """From how many children on a proxy costs less than full training; inf if never. All in device seconds."""
    return making / (full_each - proxy_each) if proxy_each < full_each else float("inf")
