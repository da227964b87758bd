"""The page of an evaluation: the table, and the images and the cost of every set."""

import statistics
from functools import partial

import pyarrow as pa

from dsopt.config import Config, differing
from dsopt.data.loading import load
from dsopt.files import write_bytes
from dsopt.jobs import audited
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.reporting import beside as beside_paper
from dsopt.reporting import figures
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.stages.evaluate import accuracies
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

SHOWN = 8  # images of each class
NOTE = (
    "Accuracy on the test images (or on held-out training images, if the table says so) after the last step, mean ± sample "
    "standard deviation over n trainings. Own: the recipe that the set was distilled with, and its learned labels; common: one "
    "recipe for all sets, with hard labels. Exact: the learned floating-point pixels; 8 bits: the same, rounded to image files."
)


def page(
    plan: Plan, uris: list[str], evaluations: list[Stage], head: list[str], lines: list[list[str]], more: list[Section]
) -> Stage:
    """The report of finished evaluations; the sections `more` follow their table."""
    inputs = {f"{index:03d}": stage for index, stage in enumerate(evaluations)}
    write = partial(_write, uris=uris, head=head, lines=lines, more=more)
    return plan.add(outputs.REPORT, "distilled", {"sets": len(uris)} | differing(plan.config, "reference"), inputs, write)


def pictures(uri: str, title: str) -> Section:
    """The images of a set, class by class, and the steps and seconds of its distillation."""
    manifest, images = Table(uri).manifest, load(uri)
    names = manifest.get("classes") or [str(label) for label in range(manifest["num_classes"])]
    pixels = images.images.permute(0, 2, 3, 1).numpy()
    rows = [(name, pixels[(images.labels == label).numpy()][:SHOWN]) for label, name in enumerate(names)]
    cost = f"{manifest.get('steps', 0):,} steps in {manifest['seconds']:.0f} s on {manifest.get('device', 'unknown hardware')}."
    return Section(title, cost, png=figures.image_grid([("", rows)]))


def beside(evaluated: dict[str, Stage]) -> list[Section]:
    """The sets of several evaluations, by name."""
    return [pictures(stage.inputs["table"].uri, name) for name, stage in evaluated.items()]


def _write(
    worker: Worker, stage: Stage, config: Config, uris: list[str], head: list[str], lines: list[list[str]], more: list[Section]
) -> None:
    sections = [Section("Accuracy", NOTE, html=pages.table(head, lines)), *more]
    sections[1:1] = beside_paper.section(config, {"mean_accuracy": statistics.fmean(accuracies(stage.inputs["000"]))})
    sections += [pictures(uri, Table(uri).manifest["name"]) for uri in uris]
    metrics = pa.concat_tables([Table(evaluated.uri).read() for evaluated in stage.inputs.values()])
    facts = {"versions": ", ".join(f"{name} {number}" for name, number in versions().items())}
    lead = "Networks trained on a few synthetic images, against as many real ones."
    html = pages.page("dsopt: distilled images", lead, facts, [*audited.first(stage, config), *sections])
    write_bytes(stage.path("report.html"), html.encode())
    outputs.commit(stage, metrics, seconds=outputs.spent(stage.inputs.values()))
