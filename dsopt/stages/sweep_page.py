"""What a sweep leaves: the trials file, one metrics table, one page, and the table on the terminal."""

from typing import Any

import pyarrow as pa

from dsopt.config import Config
from dsopt.progress import say
from dsopt.reporting import figures
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.reporting.tables import ResultRow, RunInfo, as_text, percent, summarise
from dsopt.stages import report
from dsopt.stages.standings import Standing, Standings, name
from dsopt.stages.sweep_rows import infos, lines
from dsopt.stages.trials import Planned
from dsopt.storage import METRICS, Stage, Table, versions, write_bytes, write_table

TRIALS = pa.schema(
    [
        ("row", pa.string()),
        ("overrides", pa.list_(pa.string())),
        ("equal_cost", pa.bool_()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("stage", pa.string()),
        ("accuracy", pa.float64()),
        ("images", pa.int64()),
        ("training_seconds", pa.float64()),
        ("choosing_seconds", pa.float64()),
    ]
)


def write(stage: Stage, config: Config, trials: list[Planned], standings: Standings) -> None:
    """Write the results of what has ended, and tell them; the stage is finished once nothing failed."""
    trials = [*trials, *(standing.planned for standing in standings.samples())]
    done = [trial for trial in trials if standings.runs[trial.run.stage.hash].status == "done"]
    runs = infos(trials, done)
    manifests = {trial.run.stage.hash: Table(trial.run.stage.uri) for trial in done}
    made = [table.read() for table in manifests.values()]
    metrics = pa.concat_tables([METRICS.empty_table(), *made, *map(_reports, standings.runs.values())])
    results = summarise(metrics, runs, "validation" if config.train.validation else "test")
    if config.sweep.searcher != "grid":
        results.sort(key=lambda row: -row.accuracy_mean)
    if not stage.done():
        listed = [_listed(trial, standings) for trial in trials]
        sections = [*_charts(metrics, runs, results, lines(config, trials, standings)), _trials(listed)]
        device = next((table.manifest["device"] for table in manifests.values()), "")
        write_bytes(stage.path("report.html"), _page(config, standings, device, sections).encode())
        write_table(stage.path("trials.parquet"), pa.Table.from_pylist(listed, schema=TRIALS))
        if not standings.count("failed"):
            path = "data/metrics.parquet"
            part = {"path": path, "rows": len(metrics), "bytes": write_table(stage.path(path), metrics)}
            seconds = sum(table.manifest["seconds"] for table in manifests.values())
            stage.commit([part], METRICS, seconds=seconds, trials="trials.parquet", page="report.html")
    _tell(stage, config, standings, results)


def _tell(stage: Stage, config: Config, standings: Standings, results: list[ResultRow]) -> None:
    print("\n" + as_text(results))
    for standing in standings.runs.values():
        if standing.status == "stopped":
            print(f"{name(standing.planned.trial)}: {standing.reason}, {_shown(standing.accuracy)} %")
        if standing.status == "failed":
            print(f"{name(standing.planned.trial)}: failed: {standing.reason}")
    print()
    if config.sweep.searcher != "grid" and results:
        best = max(standings.runs.values(), key=lambda standing: standing.accuracy or 0.0)
        say("best", f"{name(best.planned.trial)}: {_shown(best.accuracy)} % of the held-out images")
    say("report", stage.path("report.html"))


def _reports(standing: Standing) -> pa.Table:
    """What a stopped run reported, as metrics; a finished one has that in its own."""
    if standing.status != "stopped":
        return METRICS.empty_table()
    run, seed = standing.stage.folder, standing.planned.trial.seed
    rows = [(run, seed, r["step"], r["seconds"], "validation", "accuracy", r["accuracy"]) for r in standing.reports]
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=METRICS)


def _listed(trial: Planned, standings: Standings) -> dict[str, Any]:
    """A row of the trials file."""
    standing = standings.runs[trial.run.stage.hash]
    row = {
        "row": trial.trial.row,
        "overrides": list(trial.trial.all),
        "equal_cost": trial.trial.equal_cost,
        "seed": trial.trial.seed,
        "status": standing.status,
        "reason": standing.reason,
        "stage": trial.run.stage.folder,
        "accuracy": standing.accuracy,
    }
    if standing.status != "done":
        return row
    info = report.info(trial.row, trial.trial.seed, trial.run.stage)
    training = Table(trial.run.stage.uri).manifest["seconds"]
    return row | {"images": info.images, "training_seconds": training, "choosing_seconds": info.choosing_seconds}


def _charts(metrics: pa.Table, runs: list[RunInfo], results: list[ResultRow], over: bytes | None) -> list[Section]:
    if not results:
        return []
    sections = [Section("Results", "", html=pages.results_table(results))]
    if over:
        sections.append(Section("Accuracy over a setting", "Mean over seeds; whiskers are one standard deviation.", png=over))
    return [
        *sections,
        Section("Accuracy", "Mean over seeds; whiskers are one standard deviation.", png=figures.accuracy_bars(results)),
        Section("Loss against steps", "Training loss.", png=figures.loss_curves(metrics, runs, "step")),
        Section("Loss against seconds", "The same, over training time.", png=figures.loss_curves(metrics, runs, "seconds")),
    ]


def _trials(listed: list[dict[str, Any]]) -> Section:
    cells = [
        [
            "full data + choosing" if row["equal_cost"] else " ".join(row["overrides"]) or "as configured",
            str(row["seed"]),
            row["status"],
            _shown(row["accuracy"]),
            row["reason"],
        ]
        for row in listed
    ]
    return Section("Trials", "", html=pages.table(["trial", "seed", "status", "accuracy %", "reason"], cells))


def _shown(accuracy: float | None) -> str:
    return "" if accuracy is None else percent(accuracy, None)


def _page(config: Config, standings: Standings, device: str, sections: list[Section]) -> str:
    facts = {
        "data": config.data.name,
        "trials": ", ".join(f"{standings.count(s)} {s}" for s in ("done", "stopped", "failed") if standings.count(s)),
        "network": f"{config.train.name}, batches of {config.train.batch_size}, {config.train.schedule.name} schedule",
        "hardware": device,
        "versions": ", ".join(f"{library} {number}" for library, number in versions().items()),
    }
    lead = f"What the paper had: {config.sweep.paper}" if config.sweep.paper else "One training run for every setting and seed."
    return pages.page(f"dsopt: {config.sweep.title} on {config.data.name}", lead, facts, sections)
