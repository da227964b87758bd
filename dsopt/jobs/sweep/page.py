"""What a sweep leaves: the trials file, one metrics table, one page, and the table on the terminal."""

from collections.abc import Collection
from typing import Any

import pyarrow as pa

from dsopt.config import AdversarialConfig, Config, TrainConfig
from dsopt.files import write_bytes, write_table
from dsopt.jobs.colorize import page as colorize_page
from dsopt.jobs.distill import page as distill_page
from dsopt.jobs.generate import page as generate_page
from dsopt.jobs.optimize import page as report
from dsopt.jobs.sweep import critics
from dsopt.jobs.sweep.kinds import Planned, held_out, kind
from dsopt.jobs.sweep.rows import Over, infos, over
from dsopt.jobs.sweep.status import Standing, Standings, name
from dsopt.pipeline import outputs
from dsopt.progress import say
from dsopt.reporting import figures
from dsopt.reporting import lines as over_lines
from dsopt.reporting import page as pages
from dsopt.reporting.losses import sides_of_games
from dsopt.reporting.page import Section
from dsopt.reporting.tables import Measure, ResultRow, RunInfo, aligned, as_text, by_row, summarise
from dsopt.storage import METRICS, Stage, Table, versions

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


def write(stage: Stage, config: Config, trials: list[Planned], standings: Standings) -> None:
    """Write the results of what has ended, and tell them; the stage is finished once nothing failed."""
    trials = [*trials, *(standing.planned for standing in standings.samples())]
    done = [trial for trial in trials if standings.runs[trial.run.stage.hash].status == "done"]
    what, runs, found = kind(config), infos(trials, done), over(config, trials, standings)
    made = {trial.run.stage.hash: trial for trial in done}.values()
    reports = [_reports(standing, what.measure) for standing in standings.runs.values()]
    metrics = pa.concat_tables([METRICS.empty_table(), *(trial.metrics() for trial in made), *reports])
    results = summarise(metrics, runs, "validation" if held_out(config) else "test", what.measure, what.others)
    if config.sweep.searcher != "grid":
        results.sort(key=lambda row: -what.measure.score(row.mean))
    if not stage.done():
        listed = [_listed(trial, standings) for trial in trials]
        sections = [*_charts(config, metrics, runs, results, found), *_critics(config, made, standings)]
        sections += [*_pictures(config, runs, done), _trials(trials, standings)]
        device = next((Table(trial.trained.uri).manifest["device"] for trial in made), "")
        write_bytes(stage.path("report.html"), _page(config, standings, device, sections).encode())
        names = dict.fromkeys([what.measure.name, *(name for row in standings.runs.values() for name in row.outcome)])
        schema = pa.schema([*TRIALS, *((name, pa.float64()) for name in names)])
        write_table(stage.path("trials.parquet"), pa.Table.from_pylist(listed, schema=schema))
        if not standings.count("failed"):
            own = {step.stage.hash: step.stage for trial in made for step in trial.own}.values()
            outputs.commit(stage, metrics, seconds=outputs.spent(own), trials="trials.parquet", page="report.html")
    _tell(stage, config, standings, results, found)


def _tell(stage: Stage, config: Config, standings: Standings, results: list[ResultRow], found: Over | None) -> None:
    if found and _crossed(found):
        print("\n" + aligned(*over_lines.table(found.series, found.x, standings.measure)))
    print("\n" + as_text(results))
    for standing in standings.runs.values():
        if standing.status == "stopped":
            print(f"{name(standing.planned.trial)}: {standing.reason}, {standings.shown(standing)}")
        if standing.status == "failed":
            print(f"{name(standing.planned.trial)}: failed: {standing.reason}")
    print()
    best = standings.best()
    if config.sweep.searcher != "grid" and best:
        of = " of the held-out images" if held_out(config) else " against test images"
        say("best", f"{name(best.planned.trial)}: {standings.shown(best)}{of}")
    say("report", stage.path("report.html"))


def _reports(standing: Standing, measure: Measure) -> pa.Table:
    """What a stopped run reported, as metrics; a finished one has that in its own."""
    if standing.status != "stopped":
        return METRICS.empty_table()
    run, seed = standing.stage.folder, standing.planned.trial.seed
    rows = [(run, seed, r["step"], r["seconds"], "validation", measure.name, measure.score(r["score"])) for r in standing.reports]
    return outputs.metrics(rows)


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
    } | standing.outcome
    if standing.status != "done":
        return row
    info = report.info(trial.row, trial.trial.seed, trial.run.stage)
    training = Table(trial.trained.uri).manifest["seconds"]
    return row | {"images": info.images, "training_seconds": training, "choosing_seconds": info.choosing_seconds}


def _crossed(found: Over) -> bool:
    """Whether there are several lines and several places, so that a table of them tells something."""
    return len(found.series) > 1 and len(over_lines.values_of(found.series)) > 1


def _charts(config: Config, metrics: pa.Table, runs: list[RunInfo], results: list[ResultRow], found: Over | None) -> list[Section]:
    if not results:
        return []
    measure, spread = results[0].measure, "Mean over seeds; whiskers are one standard deviation."
    title = measure.name if measure.name.isupper() else measure.name.replace("_", " ").capitalize()
    sections = []
    if found and _crossed(found):
        table = pages.table(*over_lines.table(found.series, found.x, measure))
        sections.append(Section(f"{title} over {found.x}", "Mean ± sample standard deviation over seeds.", html=table))
    sections.append(Section("Results", kind(config).note, html=pages.results_table(results)))
    if found:
        png = over_lines.lines(found.series, found.beside, found.x, measure)
        sections.append(Section(f"{title} over a setting", spread, png=png))
    sections.append(Section(title, spread, png=figures.accuracy_bars(results)))
    if config.sweep.of in ("generate", "colorize"):
        told = "Each on its own scale, of its first seed. Dark: of the discriminator, or the only one; orange: of the generator."
        sections.append(Section("Losses", told, png=sides_of_games(metrics, runs)))
    elif "loss" in metrics["name"].to_pylist():  # what is trained on distilled images leaves only what it reached
        sections += [
            Section("Loss against steps", "Training loss.", png=figures.loss_curves(metrics, runs, "step")),
            Section("Loss against seconds", "The same, over training time.", png=figures.loss_curves(metrics, runs, "seconds")),
        ]
    return sections


def _critics(config: Config, done: Collection[Planned], standings: Standings) -> list[Section]:
    if config.sweep.of != "generate":
        return []
    reached = [standings.runs[trial.run.stage.hash].outcome[standings.measure.name] for trial in done]
    return critics.sections(done, reached, standings.measure.name)


_PICTURES = {"generate": generate_page.beside, "colorize": colorize_page.beside, "distill": distill_page.beside}


def _pictures(config: Config, runs: list[RunInfo], done: list[Planned]) -> list[Section]:
    """The images made, coloured or distilled by the first seed of every row."""
    stages = {trial.run.stage.folder: trial.run.stage for trial in done}
    show = _PICTURES.get(config.sweep.of)
    return show({row: stages[group[0].run] for row, group in by_row(runs).items()}) if show and runs else []


def _trials(trials: list[Planned], standings: Standings) -> Section:
    cells = []
    for trial in trials:
        standing, words = standings.runs[trial.run.stage.hash], name(trial.trial).rpartition(" ")[0]
        cells.append([words or "as configured", str(trial.trial.seed), standing.status, standings.shown(standing), standing.reason])
    return Section("Trials", "", html=pages.table(["trial", "seed", "status", standings.measure.name, "reason"], cells))


def _page(config: Config, standings: Standings, device: str, sections: list[Section]) -> str:
    facts = {
        "data": config.data.name,
        "trials": ", ".join(f"{standings.count(s)} {s}" for s in ("done", "stopped", "failed") if standings.count(s)),
        "network": _network(config),
        "hardware": device,
        "versions": ", ".join(f"{library} {number}" for library, number in versions().items()),
    }
    lead = f"What the paper had: {config.sweep.paper}" if config.sweep.paper else kind(config).lead
    return pages.page(f"dsopt: {config.sweep.title} on {config.data.name}", lead, facts, sections)


def _network(config: Config) -> str:
    part: Any = getattr(config, config.sweep.of)
    if isinstance(part, TrainConfig):
        network = part.name
    elif isinstance(part, AdversarialConfig):
        network = f"{part.generator.name}, {part.discriminator.name}, {part.loss.name} loss"
    else:
        network = part.network.name
    return f"{network}, batches of {part.batch_size}, {part.schedule.name} schedule"
