"""report: the runs of a comparison -> one self-contained HTML page and one metrics table."""

import textwrap
from dataclasses import replace
from functools import partial

import pyarrow as pa

from dsopt.config import Config, differing
from dsopt.config.references import Published, facts_of, find
from dsopt.errors import InputError
from dsopt.files import write_bytes
from dsopt.jobs import audited
from dsopt.jobs.optimize import pictures, target
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.reporting import beside, figures
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.reporting.tables import ACCURACY, KEPT_BEST, Measure, ResultRow, RunInfo, as_text, summarise
from dsopt.stages import linear, select
from dsopt.stages.classifier import Row
from dsopt.stages.script import end_of_output
from dsopt.storage import METRICS, Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

Rows = list[tuple[Row, int, Stage]]  # of every run: its row of the comparison, its seed and its stage
Failed = dict[str, str]  # why runs failed, by the hash of their stage

PROBES = (
    "A linear probe is a linear classifier of the embeddings of the same images, trained in seconds: what the encoder knows "
    "already. Its choosing includes embedding all training images."
)
GIVEN = Measure("accuracy", "Accuracy as the command gave it", percent=True)


def page(plan: Plan, rows: Rows, failed: Failed, found: Stage | None = None) -> Stage:
    """The report of a comparison's runs, finished ones and failed ones; while there are such it is written, but not done.

    Args:
        found: the issues of the data.
    """
    inputs = {f"{row.title} seed {seed}": stage for row, seed, stage in rows} | ({"issues": found} if found else {})
    made_of = differing(plan.config, "select", "reference", "compare.target")
    return plan.add(outputs.REPORT, plan.config.data.name, made_of, inputs, partial(_write, rows=rows, failed=failed))


def _write(worker: Worker, stage: Stage, config: Config, rows: Rows, failed: Failed) -> None:
    if not rows:
        raise InputError("report: no training run of this configuration is finished yet; run `dsopt optimize` first.")
    metrics, results = _results(config, rows, failed)
    done = [one for one in rows if one[2].hash not in failed]
    images = Table(rows[0][0].images.uri)
    sections = [
        *audited.first(stage, config),
        Section("Results", "\n\n".join(_told(config, rows)), html=pages.results_table(results)),
        *target.sections(config, metrics, [info(*one) for one in done]),
        *_failures(rows, failed),
        *_figures(metrics, results, [info(*one) for one in done]),
        *pictures.sections(config, done, images),
    ]
    title = config.data.name if config.data.name != "folder" else (config.data.root or "").rstrip("/").rpartition("/")[2]
    html = pages.page(f"dsopt: {title}", _lead(config, rows), _facts(config, rows, done, images), sections)
    write_bytes(stage.path("report.html"), html.encode())
    if not failed:
        outputs.commit(stage, metrics, seconds=outputs.spent(run for _, _, run in rows))


def print_results(stage: Stage, config: Config, rows: Rows, failed: Failed) -> None:
    """Print the results table of a report, what failed with the end of its output, and the path of the page."""
    notes = "".join(textwrap.fill(told, 80) + "\n" for told in _told(config, rows))
    metrics, results = _results(config, rows, failed)
    print(f"\n{as_text(results)}\n{notes}")
    target.print_times(config, metrics, [info(*one) for one in rows if one[2].hash not in failed])
    for row, seed, run in rows:
        if run.hash in failed:
            print("\n  ".join([f"{row.title}, seed {seed}: failed: {failed[run.hash]}", *end_of_output(run)]) + "\n")
    say("report", stage.path("report.html"))


def _probed(rows: Rows) -> bool:
    return any(run.kind == linear.LINEAR for _, _, run in rows)


def _results(config: Config, rows: Rows, failed: Failed) -> tuple[pa.Table, list[ResultRow]]:
    """The metrics of the finished runs, and the rows of all."""
    found = [Table(run.uri).read() for _, _, run in rows if run.hash not in failed]
    metrics, measure = pa.concat_tables([METRICS.empty_table(), *found]), ACCURACY if config.train.keep == "last" else KEPT_BEST
    measure = GIVEN if config.compare.command else measure
    runs = [_unfinished(*one) if one[2].hash in failed else info(*one) for one in rows]
    runs = [replace(run, published=_published(config, row)) for run, (row, *_) in zip(runs, rows, strict=True)]
    held_out = config.train.validation and config.train.keep == "last"  # the weights that are kept are tested
    return metrics, summarise(metrics, runs, "validation" if held_out else "test", measure)


def _published(config: Config, row: Row) -> dict[str, Published]:
    """What the paper of `reference` has for a row; nothing for rows with further images or seconds, or of a command."""
    if config.reference is None or config.compare.command or row.added or row.extra:
        return {}
    return find(config.reference).published(config.data.name, facts_of(config, row="", method=row.method, split=row.split))


def _told(config: Config, rows: Rows) -> list[str]:
    """What is said above or below the table."""
    return [*[PROBES] * _probed(rows), *filter(None, [beside.note(config, [facts_of(config)])])]


def _unfinished(row: Row, seed: int, stage: Stage) -> RunInfo:
    return RunInfo(stage.folder, row.title, row.method, row.split, seed, _images(row), 0.0, failed=True)


def _images(row: Row) -> int:
    """How many images it trains on; 0 if they could not be made."""
    stages = [row.subset or row.images, *([row.added] if row.added else [])]
    tables = [Table(stage.uri) for stage in stages] if all(stage.done() for stage in stages) else []
    return sum(table.rows(table.training()) for table in tables)


def _failures(rows: Rows, failed: Failed) -> list[Section]:
    if not failed:
        return []
    those = [(f"{row.title}, seed {seed}", run) for row, seed, run in rows if run.hash in failed]
    told = [pages.failure(title, failed[run.hash], end_of_output(run)) for title, run in those]
    return [Section("Failed runs", "The same command tries these again.", html="\n".join(told))]


def _figures(metrics: pa.Table, results: list[ResultRow], runs: list[RunInfo]) -> list[Section]:
    results, sections = [row for row in results if row.seeds], []
    if results:
        bars = figures.accuracy_bars(results)
        sections.append(Section("Accuracy", "Mean over seeds; whiskers are one standard deviation.", png=bars))
    if "train" in metrics["split"].to_pylist():  # a command gives its final metrics alone
        sections += [
            Section("Loss against steps", "Training loss.", png=figures.loss_curves(metrics, runs, "step")),
            Section("Loss against seconds", "The same, over training time.", png=figures.loss_curves(metrics, runs, "seconds")),
        ]
    return sections


def info(row: Row, seed: int, stage: Stage) -> RunInfo:
    """The row, data size and selection cost of a finished run, for the tables of its metrics."""
    manifest = Table(stage.uri).manifest
    # The cost includes extra images, the scores of a sampler, the embeddings that a linear probe is trained on and the classifiers
    # in a generator's loss. For a row whose training is extended by the seconds of selection, these are part of the training time.
    used = [stage.inputs.get(role) for role in ("scores", "embeddings")]
    cost = select.cost(*filter(None, [row.subset, row.added, *used, *row.guides]))
    reading = manifest.get("reading", 0.0)
    return RunInfo(stage.folder, row.title, row.method, row.split, manifest["seed"], _images(row), cost, reading_seconds=reading)


def _lead(config: Config, rows: Rows) -> str:
    count, how = Table(rows[0][0].images.uri).rows("train"), "your command" if config.compare.command else "equal steps"
    lead = f"Training on all {count:,} images against training on fewer, selected by different methods, with {how}."
    return "\n\n".join(filter(None, [lead, beside.about(config)]))


def _facts(config: Config, rows: Rows, done: Rows, images: Table) -> dict[str, str]:
    counts, source = images.manifest["splits"], " ".join(filter(None, [config.data.name, config.data.root]))
    return {
        "data": f"{source}: {counts['train']:,} training and {counts['test']:,} test images",
        "subset": config.select.ids or f"{config.select.name}, budget {config.select.budget}",
        **_encoder(config, rows),
        **_training(config, done),
        "seeds": ", ".join(str(seed) for seed in sorted({seed for _, seed, _ in rows})),
        "hardware": ", ".join(dict.fromkeys(Table(run.uri).manifest["device"] for _, _, run in done)) or "–",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }


def _encoder(config: Config, rows: Rows) -> dict[str, str]:
    """What the embeddings are of, where subsets are chosen by them."""
    if not any(stage and "embeddings" in stage.inputs for row, _, run in rows for stage in (row.subset, run)):
        return {}
    return {"encoder": ", ".join(config.embed.encoder) if config.embed.source == "encoder" else str(config.embed.table)}


def _training(config: Config, done: Rows) -> dict[str, str]:
    if config.compare.command:
        return {"command": config.compare.command}
    train, steps = config.train, [f"{Table(done[0][2].uri).manifest['steps']:,} steps of {config.train.batch_size}"] if done else []
    start = [f"from {train.weights.rpartition('/')[2]}"] if train.weights else []
    settings = [train.name, *start, *steps, f"learning rate {train.learning_rate}", f"{train.schedule.name} schedule"]
    return {"network": ", ".join(settings)}
