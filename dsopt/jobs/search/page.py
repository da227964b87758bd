"""The results of a search: the page, the table of its study, and the lines on the terminal."""

import math
import textwrap
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from dsopt.config import Config, differing
from dsopt.files import write_bytes
from dsopt.jobs import audited
from dsopt.jobs.search import study as studies
from dsopt.jobs.search.study import Ranking, Studied, Study
from dsopt.jobs.search.trials import ranked, space_of
from dsopt.models.child_cells import EDGES
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.reporting import beside
from dsopt.reporting import page as pages
from dsopt.reporting import search_figures as figures
from dsopt.reporting.page import Section
from dsopt.reporting.tables import aligned
from dsopt.search import rank_quality
from dsopt.search.rank_quality import Estimate
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

SEARCH = Kind("search")
HEAD = ["proxy", "images", "steps", "Spearman", "of ceiling", "Kendall", "top 20 %", "P@5", "regret@1", "regret@5"]
HEAD += ["device s", "of full", "pays from"]
HELD_OUT = ["proxy", "of full", "dev Spearman", "dev regret@5", "Spearman", "of ceiling", "Kendall", "regret@1", "regret@5"]
NOTE = (
    "Correlation of the proxy's accuracies with the true ones over {n} children (brackets: 95 % bootstrap interval over children); "
    "the same among the true best 20 %; P@5: share of the proxy's best 5 that are among the true best 5; regret@k: points of "
    "accuracy lost by taking the best of the proxy's first k. The truth is the mean of {seeds} full trainings, on held-out images. "
    "The ceiling, {ceiling}, is the correlation of one seed with the mean of the others. Device seconds (on CPUs: processor time "
    "per thread) for all children include making the proxy; of full: relative to one full training of each child; pays from: "
    "number of children from which the proxy is cheaper. Draws of a proxy are averaged."
)
ALIKE = (
    " The ceiling is low: trainings of the same child differ about as much as different children do, so no proxy can be assessed "
    "with them. More seeds (search.seeds), longer training (search.train.steps) or harder data would separate children better."
)
BEST = (
    "The cheapest proxy whose correlation is at least {enough:g} of the ceiling and whose regret@5 is at most {lost:g} points: "
    "{about}. It was chosen on a random half of the children (dev); the columns after the dev ones are of the other {held_out}, "
    "which the choice did not use (brackets: 95 % bootstrap interval). The ceiling is {dev} on the dev half, {other} on the other."
)
BY_CHANCE = (
    "The best of the {n} finalists has {found:.2f} % accuracy on the held-out images. The best of {n} random children is expected "
    "to have {chance:.2f} %; the best of all {known} with known truth has {best:.2f} %."
)
RANKINGS = pa.schema(
    [
        ("proxy", pa.string()),
        ("children", pa.string()),  # "all", or a half of them: "dev", used to choose the proxy, or "held_out"
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("making_seconds", pa.float64()),
        ("seconds_each", pa.float64()),
        ("failed", pa.int64()),
        ("chosen", pa.bool_()),  # as the best proxy, on the dev children
    ]
)


@dataclass(frozen=True)
class SearchStages:
    """The stages of a search; `truth` is None if proxies are not studied."""

    search: Stage
    finalists: Stage
    child: Stage
    truth: Stage | None = None
    studied: list[Studied] = field(default_factory=list)


def page(plan: Plan, stages: SearchStages) -> Stage:
    """The report of a search."""
    config, inputs = plan.config, {"search": stages.search, "finalists": stages.finalists, "child": stages.child}
    inputs |= {"truth": stages.truth} if stages.truth else {}
    inputs |= {f"{one.title} {i}": stage for one in stages.studied for i, stage in enumerate(one.draws)}
    name, write = f"{config.data.name}-{config.search.space.name}", partial(_write, stages=stages)
    return plan.add(SEARCH, name, differing(config, "reference"), inputs, write, title="report of the search")


def _write(worker: Worker, stage: Stage, config: Config, stages: SearchStages) -> None:
    found = studies.study(config, stages.truth, stages.studied) if stages.truth else None
    paper = beside.section(config, {"accuracy": _accuracy(stages.child)})
    sections = [*audited.first(stage, config), *paper, *(_study(found) if found else []), *_search(config, stages, found)]
    manifest = Table(stages.child.uri).manifest
    lead = f"The best child found: {manifest['child']}, {100 * _accuracy(stages.child):.2f} % accuracy on the test images."
    write_bytes(stage.path("report.html"), pages.page(_title(config), lead, _facts(config, stages), sections).encode())
    listed = [row for ranking in found.rankings for row in _listed(ranking, found)] if found else []
    rankings, seconds = pa.Table.from_pylist(listed, schema=RANKINGS), outputs.spent(stage.inputs.values())
    outputs.commit(stage, rankings, name="rankings", seconds=seconds, page="report.html")


def print_results(config: Config, stages: SearchStages) -> None:
    """Print the tables of the study and the accuracies of the best child."""
    if stages.truth:
        found = studies.study(config, stages.truth, stages.studied)
        table = aligned(HEAD, [_cells(ranking, found) for ranking in found.rankings])
        halves = aligned(HELD_OUT, [_halves(ranking, found) for ranking in found.rankings])
        for shown, about in ((table, _note(found)), (halves, _best(found))):
            print("\n".join(["", shown, *textwrap.wrap(about, len(shown.splitlines()[1]))]))
        print(f"\n{_beside_chance(stages, found)}")
    row = ranked(stages.finalists)[0]
    tested = f"{100 * row['accuracy']:.2f} % on the held-out images, {100 * _accuracy(stages.child):.2f} % on the test images"
    print(f"\nbest of {Table(stages.search.uri).rows()} children: {tested}\n")
    if cells := beside.lines(config, {"accuracy": _accuracy(stages.child)}):
        print(f"{aligned(beside.HEAD, cells)}\n")


def _accuracy(child: Stage) -> float:
    metrics = Table(child.uri).read()
    return metrics.filter((pc.field("split") == "test") & (pc.field("name") == "accuracy"))["value"][-1].as_py()


def _title(config: Config) -> str:
    return f"dsopt: search in {config.search.space.name} on {config.data.name}"


def _facts(config: Config, stages: SearchStages) -> dict[str, str]:
    search, counts = config.search, Table(stages.search.inputs["images"].uri).manifest["splits"]
    train, table = search.train, Table(stages.search.uri)
    rate = f"learning rate {train.learning_rate:g}, {train.schedule.name} schedule"
    return {
        "data": f"{config.data.name}: {counts['train']:,} training images, {100 * search.validation:g} % held out for evaluation",
        "search": f"{search.strategy.name}, {table.rows()} children on {search.proxy or 'full data'}",
        "training": f"{train.steps:,} steps of {train.batch_size}, {rate}",
        "device": table.manifest["device"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }


def _note(found: Study) -> str:
    note = NOTE.format(n=len(found.truth), seeds=found.seeds, ceiling=_ceiling(found, "all"))
    return note + (ALIKE if found.ceilings["all"] < rank_quality.LOW_CEILING else "")


def _cells(ranking: Ranking, found: Study) -> list[str]:
    measures = ranking.measures["all"]

    def value(name: str, scale: float = 1.0) -> str:
        return f"{scale * measures[name].value:.2f}" if name in measures else "–"

    pays = {0.0: "at once", math.inf: "never"}.get(ranking.break_even) or f"{math.ceil(ranking.break_even):,}"
    return [
        _name(ranking),
        "–" if ranking.images is None else f"{ranking.images:,}",
        "–" if ranking.steps is None else f"{ranking.steps:,}",
        _interval(measures["spearman"]),
        _of_ceiling(measures["spearman"], found.ceilings["all"]),
        *(value(name) for name in ("kendall", "spearman_top20", "precision_at_5")),
        *(value(name, 100.0) for name in ("regret_at_1", "regret_at_5")),
        f"{ranking.total:,.1f}",
        _of_full(ranking, found),
        pays,
    ]


def _halves(ranking: Ranking, found: Study) -> list[str]:
    """A proxy's row: its measures on the dev half, and on the half that was not used to choose it."""
    dev, held_out = ranking.measures["dev"], ranking.measures["held_out"]
    return [
        _name(ranking) + (" ← chosen" if ranking is found.chosen else ""),
        _of_full(ranking, found),
        f"{dev['spearman'].value:.2f}",
        f"{100 * dev['regret_at_5'].value:.2f}",
        _interval(held_out["spearman"]),
        _of_ceiling(held_out["spearman"], found.ceilings["held_out"]),
        _interval(held_out["kendall"]),
        *(_interval(held_out[name], 100.0) for name in ("regret_at_1", "regret_at_5")),
    ]


def _name(ranking: Ranking) -> str:
    return ranking.title + (f" ({ranking.failed} failed)" if ranking.failed else "")


def _interval(found: Estimate, scale: float = 1.0) -> str:
    between = f" [{scale * found.low:.2f}, {scale * found.high:.2f}]" if math.isfinite(found.low) else ""
    return f"{scale * found.value:.2f}{between}"


def _of_ceiling(found: Estimate, ceiling: float) -> str:
    return f"{found.value / ceiling:.2f}" if ceiling > 0 else "–"


def _of_full(ranking: Ranking, found: Study) -> str:
    return f"{ranking.total / (found.each * len(found.truth)):.2f}"


def _ceiling(found: Study, part: str) -> str:
    ceiling = found.ceilings[part]
    return f"{ceiling:.2f}" if math.isfinite(ceiling) else "unknown"


def _best(found: Study) -> str:
    good_enough = found.chosen.serves(found.ceilings["dev"])
    about = found.chosen.title if good_enough else f"none; the best correlated one is {found.chosen.title}"
    return BEST.format(
        **{
            "enough": rank_quality.MIN_CEILING_SHARE,
            "lost": 100 * rank_quality.MAX_REGRET,
            "about": about,
            "held_out": found.held_out,
        },
        **{"dev": _ceiling(found, "dev"), "other": _ceiling(found, "held_out")},
    )


def _listed(ranking: Ranking, found: Study) -> list[dict[str, Any]]:
    about = {"proxy": ranking.title, "making_seconds": ranking.making, "seconds_each": ranking.each, "failed": ranking.failed}
    about |= {"chosen": ranking is found.chosen}
    return [
        about | {"children": part, "measure": name} | measured._asdict()
        for part, measures in ranking.measures.items()
        for name, measured in measures.items()
    ]


def _study(found: Study) -> list[Section]:
    table = pages.table(HEAD, [_cells(ranking, found) for ranking in found.rankings])
    halves = pages.table(HELD_OUT, [_halves(ranking, found) for ranking in found.rankings])
    drawn = [r for r in found.rankings if (r.accuracies == r.accuracies).all()]  # none of them NaN
    panels = {r.title: (r.accuracies, r.measures["all"]["spearman"].value) for r in drawn}
    about = "Each point is a child; its true accuracy is the mean over seeds, on held-out images."
    return [
        Section("Rank quality of each proxy", _note(found), html=table),
        Section("The cheapest good proxy, on held-out children", _best(found), html=halves),
        Section("Proxy against truth", about, png=figures.proxy_against_truth(panels, found.truth)),
    ]


def _search(config: Config, stages: SearchStages, found: Study | None) -> list[Section]:
    rows, table = Table(stages.search.uri).read().to_pylist(), Table(stages.search.uri)
    accuracies = [row["accuracy"] for row in rows]
    beside = _beside_chance(stages, found) if found else ""
    sections = [
        Section(
            "The search",
            "The children's held-out accuracy after training on the proxy, in order, and the best so far.",
            png=figures.search_progress(accuracies),
        ),
        Section("Finalists", f"ChildResult in full; mean over seeds on the held-out images. {beside}", html=_finalists(stages)),
    ]
    rewards = table.manifest.get("rewards")
    if rewards:
        about = "Mean held-out accuracy, with the shared weights, of the children that the controller sampled."
        sections.append(
            Section("The controller", about, png=figures.reward_curve([(float(step), value) for step, value in rewards]))
        )
    space, child = space_of(config), Table(stages.child.uri).manifest["child"]
    operations = list(space.values(space.decode(child)).values())
    if config.search.space.name == "cell201":
        sections.append(Section("The cell", _collapse(operations), png=figures.cell_graph(EDGES, operations)))
    failed = [row for row in rows if row["accuracy"] is None]
    if failed:
        listed = [[row["child"], row["reason"]] for row in failed]
        sections.append(Section("Failed", f"{len(failed)} children.", html=pages.table(["child", "reason"], listed)))
    return sections


def _beside_chance(stages: SearchStages, found: Study) -> str:
    """The gain of the search: its finalists against as many random children, trained in full too."""
    finalists, best = ranked(stages.finalists), float(found.truth.max())
    chance = best - rank_quality.chance_regret(torch.from_numpy(found.truth), min(len(finalists), len(found.truth)))
    return BY_CHANCE.format(
        **{"n": len(finalists), "found": 100 * finalists[0]["accuracy"], "chance": 100 * chance},
        **{"known": len(found.truth), "best": 100 * best},
    )


def _collapse(operations: list[str]) -> str:
    """The share of edges that compute nothing, with a warning if it is high: weight sharing is known to collapse in this space."""
    idle = sum(operation in ("none", "skip") for operation in operations) / len(operations)
    if idle <= 0.5:
        return f"{100 * idle:.0f} % of its edges are skip connections or nothing."
    return f"Collapsed: {100 * idle:.0f} % of its edges are skip connections or nothing. Do not trust this search."


def _finalists(stages: SearchStages) -> str:
    head = ["child", "held-out accuracy %", "parameters", "multiply-adds"]
    listed = [
        [row["child"], f"{100 * row['accuracy']:.2f}", f"{row['parameters']:,}", f"{row['multiply_adds']:,}"]
        for row in ranked(stages.finalists)
    ]
    return pages.table(head, listed)
