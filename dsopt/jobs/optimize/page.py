"""report: the runs of a comparison -> one self-contained HTML page and one metrics table."""

from functools import partial

import numpy as np
import pyarrow as pa
import torch

from dsopt.config import Config, differing
from dsopt.data.images import Images, load
from dsopt.errors import InputError
from dsopt.files import write_bytes
from dsopt.pipeline import networks, outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.reporting import figures
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.reporting.tables import ACCURACY, Measure, ResultRow, RunInfo, as_text, summarise
from dsopt.stages import autoencoder, select
from dsopt.stages.classifier import Row
from dsopt.stages.script import end_of_output
from dsopt.storage import METRICS, Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

Rows = list[tuple[Row, int, Stage]]  # of every run: its row of the comparison, its seed and its stage
Failed = dict[str, str]  # why runs failed, by the hash of their stage

GIVEN = Measure("accuracy", "Accuracy as the command gave it", percent=True)

THUMBNAIL = 64  # pixels a side of shown images, at most
SHOWN = 8  # images of the autoencoder figure, and of each class in the grid


def page(plan: Plan, rows: Rows, failed: Failed) -> Stage:
    """The report of a comparison's runs, finished ones and failed ones; while there are such it is written, but not done."""
    inputs = {f"{row.title} seed {seed}": stage for row, seed, stage in rows}
    made_of = differing(plan.config, "select")
    return plan.add(outputs.REPORT, plan.config.data.name, made_of, inputs, partial(_write, rows=rows, failed=failed))


def _write(worker: Worker, stage: Stage, config: Config, rows: Rows, failed: Failed) -> None:
    if not rows:
        raise InputError("report: no training run of this configuration is finished yet; run `dsopt optimize` first.")
    metrics, results = _results(config, rows, failed)
    done = [one for one in rows if one[2].hash not in failed]
    images = Table(rows[0][0].images.uri)
    sections = [
        Section("Results", "", html=pages.results_table(results)),
        *_failures(rows, failed),
        *_figures(metrics, results, [info(*one) for one in done]),
        *_pictures(config, done, images),
    ]
    html = pages.page(f"dsopt: {config.data.name}", _lead(config, rows), _facts(config, rows, done, images), sections)
    write_bytes(stage.path("report.html"), html.encode())
    if not failed:
        outputs.commit(stage, metrics, seconds=outputs.spent(run for _, _, run in rows))


def print_results(stage: Stage, config: Config, rows: Rows, failed: Failed) -> None:
    """Print the results table of a report, what failed with the end of its output, and the path of the page."""
    print("\n" + as_text(_results(config, rows, failed)[1]) + "\n")
    for row, seed, run in rows:
        if run.hash in failed:
            print("\n  ".join([f"{row.title}, seed {seed}: failed: {failed[run.hash]}", *end_of_output(run)]) + "\n")
    say("report", stage.path("report.html"))


def _results(config: Config, rows: Rows, failed: Failed) -> tuple[pa.Table, list[ResultRow]]:
    """The metrics of the finished runs, and the rows of all."""
    found = [Table(run.uri).read() for _, _, run in rows if run.hash not in failed]
    metrics, measure = pa.concat_tables([METRICS.empty_table(), *found]), GIVEN if config.compare.command else ACCURACY
    runs = [_unfinished(*one) if one[2].hash in failed else info(*one) for one in rows]
    return metrics, summarise(metrics, runs, measure=measure)


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
    # The cost includes extra images, the scores of a sampler and the classifiers in a generator's loss. For a row whose training is
    # extended by the seconds of selection, these are part of the training time already.
    cost = select.cost(*filter(None, [row.subset, row.added, stage.inputs.get("scores"), *row.guides]))
    return RunInfo(stage.folder, row.title, row.method, row.split, manifest["seed"], _images(row), cost)


def _lead(config: Config, rows: Rows) -> str:
    count, how = Table(rows[0][0].images.uri).rows("train"), "your command" if config.compare.command else "equal steps"
    return f"Training on all {count:,} images against training on fewer, selected by different methods, with {how}."


def _facts(config: Config, rows: Rows, done: Rows, images: Table) -> dict[str, str]:
    counts = images.manifest["splits"]
    return {
        "data": f"{config.data.name}: {counts['train']:,} training and {counts['test']:,} test images",
        "subset": config.select.ids or f"{config.select.name}, budget {config.select.budget}",
        **_training(config, done),
        "seeds": ", ".join(str(seed) for seed in sorted({seed for _, seed, _ in rows})),
        "hardware": ", ".join(dict.fromkeys(Table(run.uri).manifest["device"] for _, _, run in done)) or "–",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }


def _training(config: Config, done: Rows) -> dict[str, str]:
    if config.compare.command:
        return {"command": config.compare.command}
    train, steps = config.train, [f"{Table(done[0][2].uri).manifest['steps']:,} steps of {config.train.batch_size}"] if done else []
    settings = [train.name, *steps, f"learning rate {train.learning_rate}", f"{train.schedule.name} schedule"]
    return {"network": ", ".join(settings)}


def _pictures(config: Config, rows: Rows, images: Table) -> list[Section]:
    classes = images.manifest["classes"] or [str(i) for i in range(images.manifest["num_classes"])]
    first: dict[str, Stage] = {}
    for row, _, _ in rows:
        if row.subset and not row.added:
            first.setdefault(row.method, row.subset)
    order = sorted(first, key=lambda method: method != config.select.method)  # the configured method before its baselines
    subsets = {method: load(first[method].uri, size=THUMBNAIL) for method in order}
    counts = {method: torch.bincount(s.labels, minlength=len(classes)).tolist() for method, s in subsets.items()}
    grids = [(method, _by_class(subset, _ranks(first[method]), classes)) for method, subset in list(subsets.items())[:2]]
    sections = []
    if grids:
        sections += [
            Section("Selected images", "The first images of every class by rank.", png=figures.image_grid(grids)),
            Section("Classes", "Number of images of each class in each subset.", png=figures.class_histogram(counts, classes)),
        ]
    embedded = [s.inputs["embeddings"] for s in first.values() if "embeddings" in s.inputs]
    trained = next((stage.inputs["autoencoder"] for stage in embedded if "autoencoder" in stage.inputs), None)
    if trained:
        text = (
            "Inputs, embeddings as images, and reconstructions (figure 3 of the selection paper). Selection needs no sharper ones."
        )
        sections.append(Section("Autoencoder", text, png=_reconstructions(trained, images)))
    return sections


def _ranks(subset: Stage) -> torch.Tensor:
    return torch.tensor(Table(subset.uri).read(columns=["rank"])["rank"].to_numpy())


def _by_class(subset: Images, ranks: torch.Tensor, classes: list[str]) -> list[tuple[str, np.ndarray]]:
    ordered = ranks.argsort()
    labels = subset.labels[ordered]
    return [(name, _pixels(subset.images[ordered[labels == label][:SHOWN]])) for label, name in enumerate(classes)]


def _pixels(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


@torch.inference_mode()
def _reconstructions(stage: Stage, table: Table) -> bytes:
    network, inputs = autoencoder.trained(stage, torch.device("cpu")), networks.inputs_of(Table(stage.uri))
    images = load(table.uri, "train", size=inputs.loaded)
    picked = inputs.test(images.images[torch.linspace(0, len(images.images) - 1, SHOWN).long()])
    codes = network.encode(picked)
    decoded = network.decode(codes).clamp(0, 1)
    cropped = (255 * picked).round().to(torch.uint8)  # the center, which is all that the network sees
    return figures.reconstructions(_pixels(cropped), codes.numpy(), _pixels(decoded))
