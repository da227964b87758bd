"""The page of a trained generator: its measures, generated beside real images, and snapshots and losses of the training."""

import numpy as np
import torch

from dsopt.config import Config, differing
from dsopt.data.images import Images, decode
from dsopt.data.loading import load
from dsopt.files import read_table, write_bytes
from dsopt.jobs import audited
from dsopt.pipeline import adversaries, outputs
from dsopt.pipeline.plan import Plan
from dsopt.reporting import beside as beside_paper
from dsopt.reporting import figures
from dsopt.reporting import page as pages
from dsopt.reporting.losses import loss_panels
from dsopt.reporting.page import Section
from dsopt.stages import generator
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

SHOWN = 10  # images of each class, generated and real
ROWS = 20  # in each figure
HEAD = ["measure", "generated images", "real images"]


def page(plan: Plan, samples: Stage, measures: Stage | None) -> Stage:
    """The report of a generator and its images, with their measures if there are any."""
    inputs = {"generator": samples.inputs["generator"], "samples": samples} | ({"measures": measures} if measures else {})
    return plan.add(outputs.REPORT, samples.name, differing(plan.config, "reference"), inputs, _write)


def _write(worker: Worker, stage: Stage, config: Config) -> None:
    model, samples = stage.inputs["generator"], stage.inputs["samples"]
    metrics, sections = Table(model.uri).read(), []
    if "measures" in stage.inputs:
        sections.append(
            Section("Measures", _how(stage.inputs["measures"]), html=pages.table(HEAD, lines(stage.inputs["measures"])))
        )
    sections += beside_paper.section(config, values(stage.inputs["measures"]) if "measures" in stage.inputs else {})
    sections += [
        _real_and_generated(model, samples),
        Section(
            "Over training", "Generated from the same noise at every point.", png=figures.image_grid([("", _snapshots(model))])
        ),
        Section("Losses", "Means of every 20 steps, faint, and their moving average.", png=loss_panels(metrics)),
    ]
    html = pages.page(
        f"dsopt: {config.generate.generator.name} on {config.data.name}",
        _lead(config),
        _facts(stage, config),
        [*audited.first(stage, config), *sections],
    )
    write_bytes(stage.path("report.html"), html.encode())
    outputs.commit(stage, metrics, seconds=outputs.spent(stage.inputs.values()))


def beside(measured: dict[str, Stage]) -> list[Section]:
    """Images of several generators, by name, below real ones: a row each, from the inputs of their measures."""
    real = next(iter(measured.values())).inputs["features"].inputs["images"]
    rows = [("real", _first(Table(real.uri), "test"))]
    rows += [(name, _first(Table(measures.inputs["samples"].uri))) for name, measures in measured.items()]
    grids = [figures.image_grid([("", rows[start : start + ROWS])]) for start in range(0, len(rows), ROWS)]
    return [Section("Generated images", "The first ones of each, not cherry-picked.", png=png) for png in grids]


def _first(table: Table, split: str | None = None) -> np.ndarray:
    rows = read_table(table.parts(split)[0].uri).slice(0, 2 * SHOWN)
    return _pixels(decode(rows, size=table.manifest["image_size"]).images)


def lines(measures: Stage) -> list[list[str]]:
    """The cells of the table of measures, below `HEAD`."""
    shown = {name: f"{value:.4g}" for name, value in values(measures).items()}
    real = {name: other for name in shown for other in (f"{name}_train", f"{name}_real") if other in shown}
    return [[name, value, shown.get(real.get(name, ""), "")] for name, value in shown.items() if name not in real.values()]


def values(measures: Stage) -> dict[str, float]:
    """The measures by name."""
    rows = Table(measures.uri).read(columns=["name", "value"]).to_pylist()
    return {row["name"]: row["value"] for row in rows}


def _how(measures: Stage) -> str:
    manifest = Table(measures.uri).manifest
    cas = " cas is the accuracy of a classifier trained on the generated images alone, against one trained on all real images."
    return (
        f"{manifest['n_fake']:,} generated images against {manifest['n_real']:,} real ones of the split {manifest['reference']}, "
        f"by the features of {manifest['extractor']}. The column of real images has the values of as many training images; its "
        "gan_test is that of the real test images."
    ) + cas * ("cas" in measures.inputs)


def _real_and_generated(model: Stage, samples: Stage) -> Section:
    table = generator.learned_from(model)
    sides = [("real", load(table.uri, table.training())), ("generated", load(samples.uri))]
    if not Table(model.uri).manifest["conditional"]:
        groups = [(title, [("", _pixels(some.images[: SHOWN**2]))]) for title, some in sides]
        return Section("Real and generated", "", png=figures.image_grid(groups))
    names = table.manifest["classes"] or [str(label) for label in range(table.manifest["num_classes"])]
    groups = [(title, [(name, _of(some, label)) for label, name in enumerate(names)]) for title, some in sides]
    return Section("Real and generated", "The first images of every class, not cherry-picked.", png=figures.image_grid(groups))


def _of(images: Images, label: int) -> np.ndarray:
    """The first images of a class."""
    return _pixels(images.images[(images.labels == label).nonzero().squeeze(1)[:SHOWN]])


def _snapshots(model: Stage) -> list[tuple[str, np.ndarray]]:
    snapshots = Table(model.uri).manifest["snapshots"]
    return [(f"step {s['step']:,}", _pixels(decode(read_table(model.path(s["path"]))).images)) for s in snapshots]


def _pixels(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def _lead(config: Config) -> str:
    settings = config.generate
    if settings.learner == "variational":
        return f"A variational autoencoder: {settings.encoder.name} and, as its decoder, {settings.generator.name}."
    loss = adversaries.loss_in_words(settings.loss.name, settings.terms)
    return f"{settings.generator.name} against {settings.discriminator.name}, with the loss {loss}."


def _facts(stage: Stage, config: Config) -> dict[str, str]:
    settings, model = config.generate, Table(stage.inputs["generator"].uri).manifest
    table = generator.learned_from(stage.inputs["generator"])
    rates = " and ".join(f"{rate:g}" for rate in (settings.learning_rate, settings.discriminator_rate) if rate is not None)
    return {
        "data": f"{config.data.name}: {table.rows(table.training()):,} images of {table.manifest['image_size']} pixels",
        "training": f"{model['steps']:,} steps of {settings.batch_size} in {model['seconds']:.0f} s, learning rate {rates}",
        "generated images": f"{Table(stage.inputs['samples'].uri).rows():,}",
        "seed": str(model["seed"]),
        "hardware": model["device"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
