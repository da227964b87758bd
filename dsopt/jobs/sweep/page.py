"""The results of a sweep: the trials file, one metrics table, one page, and the table on the terminal."""

import textwrap
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pyarrow as pa

from dsopt.config import Config
from dsopt.files import write_bytes, write_table
from dsopt.jobs import audited
from dsopt.jobs.optimize import target
from dsopt.jobs.optimize.page import info as run_info
from dsopt.jobs.sweep import curves
from dsopt.jobs.sweep.kinds.contract import PlannedTrial, kind_of
from dsopt.jobs.sweep.rows import Over, facts, infos, over
from dsopt.jobs.sweep.status import SweepStatus, TrialStatus, name
from dsopt.pipeline import outputs
from dsopt.progress import say
from dsopt.reporting import beside, figures
from dsopt.reporting import lines as over_lines
from dsopt.reporting import page as pages
from dsopt.reporting.losses import adversarial_losses
from dsopt.reporting.page import Section
from dsopt.reporting.tables import Measure, ResultRow, RunInfo, aligned, as_text, by_row, summarise
from dsopt.stages.classifier import TRAIN
from dsopt.storage import METRICS, Stage, Table
from dsopt.version import versions

TRIALS = pa.schema(
    [
        ("row", pa.string()),
        ("overrides", pa.list_(pa.string())),
        ("equal_cost", pa.bool_()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("stage", pa.string()),
        ("images", pa.int64()),
        ("training_seconds", pa.float64()),
        ("choosing_seconds", pa.float64()),
    ]
)


def write(stage: Stage, config: Config, trials: list[PlannedTrial], statuses: SweepStatus) -> None:
    """Write and print the results of the ended trials; the stage is committed unless some failed."""
    trials = [*trials, *(status.planned for status in statuses.samples())]
    done = [trial for trial in trials if statuses.runs[trial.evaluated.hash].state == "done"]
    kind, runs, found = kind_of(config), infos(trials, done), over(config, trials, statuses)
    config = config if kind.published else replace(config, reference=None)
    distinct = {trial.evaluated.hash: trial for trial in done}.values()
    reports = [_reports(status, kind.measure) for status in statuses.runs.values()]
    metrics = pa.concat_tables([METRICS.empty_table(), *(trial.metrics() for trial in distinct), *reports])
    results = summarise(metrics, runs, "validation" if kind.held_out else "test", kind.measure, kind.others)
    if config.sweep.searcher != "grid":
        results.sort(key=lambda row: -kind.measure.score(row.mean))
    note = " ".join(filter(None, [_kept(trials), beside.note(config, [facts(trial) for trial in trials])]))
    if not stage.done():
        listed = [_listed(trial, statuses) for trial in trials]
        sections = [
            *audited.first(stage, config),
            *_charts(config, metrics, runs, results, found, note),
            *curves.sections(distinct),
        ]
        sections += _further(config, distinct, statuses)
        sections += [*_pictures(config, runs, done), _trials(trials, statuses)]
        device = next((Table(trial.trained.uri).manifest["device"] for trial in distinct), "")
        write_bytes(stage.path("report.html"), _page(config, statuses, device, sections).encode())
        names = dict.fromkeys([kind.measure.name, *(name for row in statuses.runs.values() for name in row.outcome)])
        schema = pa.schema([*TRIALS, *((name, pa.float64()) for name in names)])
        write_table(stage.path("trials.parquet"), pa.Table.from_pylist(listed, schema=schema))
        if not statuses.count("failed"):
            own = {step.stage.hash: step.stage for trial in distinct for step in trial.own}.values()
            outputs.commit(stage, metrics, seconds=outputs.spent(own), trials="trials.parquet", page="report.html")
    target.print_times(config, metrics, runs)
    _print_results(stage, config, statuses, results, found, note)


def _print_results(
    stage: Stage, config: Config, statuses: SweepStatus, results: list[ResultRow], found: Over | None, note: str
) -> None:
    if found and _crossed(found):
        print("\n" + aligned(*over_lines.table(found.series, found.x, statuses.measure)))
    print("\n" + as_text(results))
    if note:
        print(textwrap.fill(note, 100))
    for status in statuses.runs.values():
        if status.state == "stopped":
            print(f"{name(status.planned.trial)}: {status.reason}, {statuses.shown(status)}")
        if status.state == "failed":
            print(f"{name(status.planned.trial)}: failed: {status.reason}")
    print()
    best = statuses.best()
    if config.sweep.searcher != "grid" and best:
        images = "of the held-out images" if kind_of(config).held_out else "against test images"
        say("best", f"{name(best.planned.trial)}: {statuses.shown(best)} {images}")
    say("report", stage.path("report.html"))


def _kept(trials: list[PlannedTrial]) -> str:
    """Which rows are not judged by their last step."""
    rows = dict.fromkeys(
        trial.trial.row or "all" for trial in trials if trial.config.train.keep == "best" and trial.trained.kind == TRAIN
    )
    return f"Not of the last step but of the weights that were best on held-out images: {', '.join(rows)}." if rows else ""


def _reports(status: TrialStatus, measure: Measure) -> pa.Table:
    """The reports of a stopped run as metrics; a finished one has its own metrics."""
    if status.state != "stopped":
        return METRICS.empty_table()
    run, seed = status.stage.folder, status.planned.trial.seed
    rows = [(run, seed, r["step"], r["seconds"], "validation", measure.name, measure.score(r["score"])) for r in status.reports]
    return outputs.metrics(rows)


def _listed(trial: PlannedTrial, statuses: SweepStatus) -> dict[str, Any]:
    """A row of the trials file."""
    status = statuses.runs[trial.evaluated.hash]
    row = {
        "row": trial.trial.row,
        "overrides": list(trial.trial.all),
        "equal_cost": trial.trial.equal_cost,
        "seed": trial.trial.seed,
        "status": status.state,
        "reason": status.reason,
        "stage": trial.evaluated.folder,
    } | status.outcome
    if status.state != "done":
        return row
    info = run_info(trial.row, trial.trial.seed, trial.evaluated)
    training = Table(trial.trained.uri).manifest["seconds"]
    return row | {"images": info.images, "training_seconds": training, "choosing_seconds": info.choosing_seconds}


def _crossed(found: Over) -> bool:
    """Whether there are several lines and several values of `x`, so that a table of both is worth showing."""
    return len(found.series) > 1 and len(over_lines.values_of(found.series)) > 1


def _charts(
    config: Config, metrics: pa.Table, runs: list[RunInfo], results: list[ResultRow], found: Over | None, note: str
) -> list[Section]:
    if not results:
        return []
    measure, spread = results[0].measure, "Mean over seeds; whiskers are one standard deviation."
    title = measure.name if measure.name.isupper() else measure.name.replace("_", " ").capitalize()
    sections = []
    if found and _crossed(found):
        table = pages.table(*over_lines.table(found.series, found.x, measure))
        sections.append(Section(f"{title} over {found.x}", "Mean ± sample standard deviation over seeds.", html=table))
    told = "\n\n".join(filter(None, [kind_of(config).note, note]))
    sections.append(Section("Results", told, html=pages.results_table(results)))
    sections += target.sections(config, metrics, runs)
    if found:
        png = over_lines.lines(found.series, found.beside, found.x, measure, found.paper)
        sections.append(Section(f"{title} over a setting", spread, png=png))
        head, fitted = over_lines.fits(found.series, measure)
        if fitted:
            about = f"A line through every curve, over the logarithm of {found.x}; R²: the share of the variance it explains."
            sections.append(Section("Logarithmic fits", about, html=pages.table(head, fitted)))
    sections.append(Section(title, spread, png=figures.accuracy_bars(results)))
    if kind_of(config).adversarial:
        note = "First seeds, each on its own scale. Dark: the discriminator's or the only loss; orange: the generator's."
        sections.append(Section("Losses", note, png=adversarial_losses(metrics, runs)))
    elif "loss" in metrics["name"].to_pylist():  # networks trained on distilled images have only their final metrics
        sections += [
            Section("Loss against steps", "Training loss.", png=figures.loss_curves(metrics, runs, "step")),
            Section("Loss against seconds", "The same, over training time.", png=figures.loss_curves(metrics, runs, "seconds")),
        ]
    return sections


def _further(config: Config, done: Collection[PlannedTrial], statuses: SweepStatus) -> list[Section]:
    further = kind_of(config).further
    results = [statuses.runs[trial.evaluated.hash].outcome[statuses.measure.name] for trial in done]
    return further(done, results) if further else []


def _pictures(config: Config, runs: list[RunInfo], done: list[PlannedTrial]) -> list[Section]:
    """The images generated, colored or distilled by the first seed of every row."""
    stages, show = {trial.evaluated.folder: trial.evaluated for trial in done}, kind_of(config).pictures
    return show({row: stages[group[0].run] for row, group in by_row(runs).items()}) if show and runs else []


def _trials(trials: list[PlannedTrial], statuses: SweepStatus) -> Section:
    cells = []
    for trial in trials:
        status, overrides = statuses.runs[trial.evaluated.hash], name(trial.trial).rpartition(" ")[0]
        cells.append([overrides or "as configured", str(trial.trial.seed), status.state, statuses.shown(status), status.reason])
    return Section("Trials", "", html=pages.table(["trial", "seed", "status", statuses.measure.name, "reason"], cells))


def _page(config: Config, statuses: SweepStatus, device: str, sections: list[Section]) -> str:
    facts = {
        "data": config.data.name,
        "trials": ", ".join(f"{statuses.count(s)} {s}" for s in ("done", "stopped", "failed") if statuses.count(s)),
        "network": kind_of(config).network,
        "hardware": device,
        "versions": ", ".join(f"{library} {number}" for library, number in versions().items()),
    }
    lead = beside.about(config) or kind_of(config).lead
    return pages.page(f"dsopt: {config.sweep.title} on {config.data.name}", lead, facts, sections)
