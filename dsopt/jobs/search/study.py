"""How well each proxy ranks children: its accuracies against the truth, and its cost.

The best proxy is chosen on one half of the children, drawn by the seed, and reported on the other half, so that the choice does not
bias its figures.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dsopt.config import Choice, Config
from dsopt.errors import InputError, JobError
from dsopt.jobs.search.children import children, proxy_of
from dsopt.jobs.search.trials import FULL, Trials
from dsopt.pipeline.plan import Plan
from dsopt.search import rank_quality
from dsopt.search.proxies import Proxy
from dsopt.search.rank_quality import Estimate
from dsopt.seeds import derive
from dsopt.stages import select
from dsopt.storage import Stage, Table

BOOTSTRAPPED = ("spearman", "kendall", "regret_at_1", "regret_at_5")
DRAWS = 300  # of the bootstrap
FEWEST = 2  # children: one for each half


@dataclass(frozen=True)
class Studied:
    """A proxy with the stages of its draws."""

    title: str
    proxy: Proxy
    draws: list[Stage]


@dataclass(frozen=True)
class Ranking:
    """A row of the study.

    Args:
        accuracies: of the children, mean over draws, in the order of `Study.truth`.
        measures: on "all" children, the "dev" half and the "held_out" one, by the names of `rank_quality.MEASURES`: means over
            draws, with intervals where they are bootstrapped.
        making: device seconds of making the proxy, mean over draws.
        each: device seconds for each child.
        total: both, for all children of the study.
        break_even: the number of children from which the proxy is cheaper than full training.
        failed: number of children without an accuracy, over all draws.
    """

    title: str
    images: int | None
    steps: int | None
    accuracies: np.ndarray
    measures: dict[str, dict[str, Estimate]]
    making: float = 0.0
    each: float = 0.0
    total: float = 0.0
    break_even: float = 0.0
    failed: int = 0

    def serves(self, ceiling: float, part: str = "dev") -> bool:
        """Whether it ranks a part of the children well enough, given their ceiling."""
        measures = self.measures[part]
        return rank_quality.serves(measures["spearman"].value, measures["regret_at_5"].value, ceiling)


@dataclass(frozen=True)
class Study:
    """The comparison of all proxies.

    Args:
        truth: mean accuracy over seeds of each child, in 0..1.
        ceilings: Spearman's correlation of one seed with the mean of the others, on all children and on either half.
        each: device seconds of one full training.
        held_out: the number of children that were not used to choose.
        chosen: the ranking that `choose` returned.
    """

    truth: np.ndarray
    held_out: int
    ceilings: dict[str, float]
    each: float
    seeds: int
    rankings: list[Ranking]
    chosen: Ranking


def planned(plan: Plan) -> tuple[Stage | None, list[Studied]]:
    """The stages of a study: the truth, and the proxies with their draws. Raises InputError for an impossible proxy."""
    search = plan.config.search
    if not search.proxies:
        return None, []
    if search.known < FEWEST:
        raise InputError(f"search.known={search.known}: proxies are studied with {FEWEST} children or more.")
    listed = Choice("random")
    truth = children(plan, Trials("truth", FULL, listed, search.known, search.seeds))
    studied = []
    for number, given in enumerate(search.proxies):
        proxy = proxy_of(given, f"search.proxies[{number}]")
        title = proxy.title(search.train.steps)
        draws = [children(plan, Trials(title, proxy, listed, search.known, draw=draw)) for draw in range(proxy.draws)]
        studied.append(Studied(title, proxy, list({stage.hash: stage for stage in draws}.values())))
    return truth, studied


def study(config: Config, truth: Stage, studied: list[Studied]) -> Study:
    """Read the tables of a study and compare them."""
    rows = Table(truth.uri).read().to_pylist()
    kept = [row for row in rows if row["accuracy"] is not None]
    if len(kept) < FEWEST:
        raise JobError(f"{truth.uri}: only {len(kept)} children have a known truth, the others failed; a study needs {FEWEST}.")
    children, seeds = [row["child"] for row in kept], torch.tensor([row["accuracies"] for row in kept], dtype=torch.float64)
    mean = seeds.mean(1)
    each = math.fsum(row["seconds"] for row in kept) / len(kept) / config.search.seeds
    dev = rank_quality.halves(len(kept), derive(config.seed, "dev children"))
    parts = {"all": torch.ones_like(dev), "dev": dev, "held_out": ~dev}
    ceilings = {part: rank_quality.seed_ceiling(seeds[rows]) for part, rows in parts.items()}
    rankings = [_ranking(config, one, children, mean, parts, each) for one in studied]
    for name in ("parameters", "multiply_adds"):
        values = torch.tensor([row[name] for row in kept], dtype=torch.float64)
        rankings.append(Ranking(name.replace("_", "-"), None, None, values.numpy(), measures_of([values], mean, parts)))
    chosen = choose(rankings, ceilings["dev"])
    nothing = torch.full_like(mean, torch.nan).numpy()
    chance = Ranking("chance", None, None, nothing, {part: _chance(mean[rows]) for part, rows in parts.items()})
    counts = (int((~dev).sum()), ceilings, each, config.search.seeds)
    return Study(mean.numpy(), *counts, [*rankings, chance], chosen)


def choose(rankings: list[Ranking], ceiling: float) -> Ranking:
    """The cheapest ranking that is good enough on the dev half, given its ceiling; if none is, the best correlated one."""
    good_enough = [ranking for ranking in rankings if ranking.serves(ceiling)]
    if good_enough:
        return min(good_enough, key=lambda ranking: ranking.total)
    return max(rankings, key=lambda ranking: ranking.measures["dev"]["spearman"].value)


def _chance(truth: Tensor) -> dict[str, Estimate]:
    regrets = {f"regret_at_{k}": _known(rank_quality.chance_regret(truth, k)) for k in (1, 5)}
    return {"spearman": _known(0.0), "kendall": _known(0.0)} | regrets


def _known(value: float) -> Estimate:
    return Estimate(value, math.nan, math.nan)


def measures_of(proxies: list[Tensor], truth: Tensor, parts: Mapping[str, Tensor]) -> dict[str, dict[str, Estimate]]:
    return {part: _measured([proxy[rows] for proxy in proxies], truth[rows]) for part, rows in parts.items()}


def _measured(proxies: list[Tensor], truth: Tensor) -> dict[str, Estimate]:
    found = {}
    for name, measure in rank_quality.MEASURES.items():
        draws = DRAWS if name in BOOTSTRAPPED else 0
        value = rank_quality.estimate(measure, proxies, truth, draws=draws) if draws else None
        found[name] = value or _known(sum(measure(proxy, truth) for proxy in proxies) / len(proxies))
    return found


def _ranking(
    config: Config, one: Studied, children: list[str], truth: Tensor, parts: Mapping[str, Tensor], full_each: float
) -> Ranking:
    tables = [{row["child"]: row for row in Table(stage.uri).read().to_pylist()} for stage in one.draws]
    columns = [[math.nan if table[c]["accuracy"] is None else table[c]["accuracy"] for c in children] for table in tables]
    proxies = [rank_quality.failed_last(torch.tensor(column, dtype=torch.float64)) for column in columns]
    subsets = [stage.inputs["subset"] for stage in one.draws if "subset" in stage.inputs]
    making = sum(map(select.cost, subsets)) / len(subsets) if subsets and one.proxy.selects else 0.0
    making = Table(subsets[0].uri).manifest["seconds"] if subsets and one.proxy.is_table else making
    seconds = [math.fsum(row["seconds"] for row in table.values()) for table in tables]
    spent = sum(seconds) / len(seconds)
    if one.proxy.shared:  # the weights are trained once, for any number of children
        making, spent = making + spent, 0.0
    each = spent / len(children)
    return Ranking(
        one.title,
        _images(config, one),
        one.proxy.steps or (config.search.shared.steps if one.proxy.shared else config.search.train.steps),
        torch.stack(proxies).mean(0).numpy(),
        measures_of(proxies, truth, parts),
        making=making,
        each=each,
        total=making + spent,
        break_even=rank_quality.break_even(making, each, full_each),
        failed=sum(math.isnan(value) for column in columns for value in column),
    )


def _images(config: Config, one: Studied) -> int:
    stage, amount = one.draws[0], one.proxy.images
    if isinstance(amount, int):
        return amount
    table = Table((stage.inputs.get("subset") or stage.inputs["images"]).uri)
    rows = Table(stage.inputs["images"].uri).rows("train")
    if one.proxy.is_table:
        return round((1 if amount is None else amount) * table.rows(table.training()))
    return round((amount if amount is not None else 1 - config.search.validation) * rows)
