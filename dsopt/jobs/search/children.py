"""children: a strategy's children, trained on a proxy and evaluated on held-out real images -> one table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dsopt.config import Config, SelectConfig, differing, plain
from dsopt.files import delete
from dsopt.jobs.search import bundles, shared
from dsopt.jobs.search.child import bound_rates
from dsopt.jobs.search.trials import Trials, commit, limit, source, space_of, strategy_of
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import make_together
from dsopt.registry import STRATEGIES
from dsopt.search.proxies import Proxy, parse
from dsopt.stages import ingest, needs, select
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

CHILDREN = Kind("children")


def proxy_of(given: Mapping[str, Any], where: str) -> Proxy:
    """The proxy that a configuration describes. If it has its own learning rates, it takes a step for each of them by default.

    Raises:
        InputError: an impossible proxy, or one whose learning rates or weights belong to one network.
    """
    proxy = parse(given, where)
    rates = bound_rates(Table(proxy.data), proxy.bound_rates) if proxy.is_table else ()
    return replace(proxy, steps=sum(map(len, rates))) if rates and not proxy.steps and not proxy.shared else proxy


def children(plan: Plan, wanted: Trials, **inputs: Stage) -> Stage:
    """The table of some children.

    Raises:
        InputError: a table that cannot be a proxy, or fewer images than the proxy takes, as far as that is known in advance.
    """
    config, search, proxy, images = plan.config, plan.config.search, wanted.proxy, ingest.images(plan)
    if proxy.is_table or images.done():
        limit(proxy, images)
    inputs = {"images": images, **inputs}
    if proxy.is_table:
        inputs["subset"] = Stage.existing(proxy.data)
    elif proxy.selects:
        # The number of images is not known yet when the budget is set, so the subset may have fewer than the budget.
        inputs["subset"] = select.subset(plan, _selection(config, proxy), config.seed + wanted.draw, at_most=True)
    strategy_of(config, wanted, space_of(config))  # fails now if its options do not fit
    learns = STRATEGIES.traits(wanted.strategy.name).learns
    default = type(proxy)(proxy.data)  # default values are left out, so that a key added later changes no hash
    made_of = differing(config, "search.space", "search.train", "search.validation", "seed")
    made_of |= differing(config, "search.shared") if proxy.shared else {}
    made_of |= {
        "strategy": plain(wanted.strategy) if not wanted.finalists else None,
        "children": wanted.finalists or wanted.children,
        "ahead": search.ahead if learns and not wanted.finalists else None,
        "proxy": {key: value for key, value in plain(proxy).items() if key != "draws" and value != getattr(default, key)},
        "seeds": wanted.seeds,
        "draw": wanted.draw,
    }
    name, title = f"{config.data.name}-{search.space.name}", f"children: {wanted.title}"
    if proxy.shared:
        shared.check(space_of(config))
        return plan.add(
            CHILDREN, name, made_of, inputs, partial(_share, wanted=wanted), where="worker", title=title, needs=needs.labels
        )
    return plan.add(CHILDREN, name, made_of, inputs, MakeTable(wanted), title=title, needs=needs.labels)


@dataclass(frozen=True)
class MakeTable:
    """The work of a step that makes a table of children, in bundles on all workers."""

    wanted: Trials

    def __call__(self, worker: Worker, stage: Stage, config: Config) -> None:
        bundles.make([(stage, self.wanted)], config)


def together(plan: Plan, page: Stage) -> None:
    """Make the tables of a search that need no other, by the same workers: starting workers takes as long as a small table."""
    tables = {step.stage.hash: step for step in plan.to(page) if isinstance(step.work, MakeTable) and not step.stage.done()}
    first = [step for step in tables.values() if not any(needed.hash in tables for needed in step.stage.inputs.values())]
    plan.run(*(needed for step in first for needed in step.stage.inputs.values()))
    wanted = [(step.stage, step.work.wanted) for step in first if isinstance(step.work, MakeTable)]
    if wanted:
        make_together(first, lambda: bundles.make(wanted, plan.config))


def _selection(config: Config, proxy: Proxy) -> SelectConfig:
    """A selection of more images than the proxy takes, because some of them are held out; the best by rank are used."""
    share = 1.5 / (1 - config.search.validation)
    amount = proxy.images or 0
    budget = min(1.0, share * amount) if isinstance(amount, float) else math.ceil(share * amount) + 30
    choice = {"name": proxy.data, "options": proxy.options, "budget": budget, "per_class": proxy.per_class, "ids": None}
    return replace(config.select, **choice, soft_labels="none", content="working")


def _share(worker: Worker, stage: Stage, config: Config, wanted: Trials) -> None:
    """On one worker: train shared weights and evaluate with them the controller's children, or those of the strategy `random`."""
    space, proxy = space_of(config), wanted.proxy
    known = [job.genotype for job in iter(strategy_of(config, wanted, space).ask, None)] if wanted.children else []
    given = source(stage, config, proxy)
    rows, rewards = shared.rows_of(worker, stage, config, space, given, proxy.shared or "", known)
    commit(stage, config, rows, {worker.describe()}, rewards=rewards)
    delete(stage.path("checkpoint.pt"))
