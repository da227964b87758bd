"""The page of an evaluation: the table, how every set was made, and its images as they look."""

from functools import partial

import pyarrow as pa

from dsopt.config import Config
from dsopt.data.images import load
from dsopt.files import write_bytes
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.reporting import figures
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.storage import Stage, Table, versions
from dsopt.training.worker import Worker

SHOWN = 8  # images of each class
NOTE = (
    "Accuracy on the test images, or on training images held out where the table says so, after the last step, mean ± sample "
    "standard deviation over n trainings. Own: the recipe that a set was made with and its learned labels; common: one for all "
    "sets, with whole-number labels. Exact: the numbers as they were learned; 8 bits: the pictures that anyone can read."
)


def page(
    plan: Plan, uris: list[str], evaluations: list[Stage], head: list[str], lines: list[list[str]], more: list[Section]
) -> Stage:
    """The report of evaluations that are done; `more` stands below their table."""
    inputs = {f"{index:03d}": stage for index, stage in enumerate(evaluations)}
    write = partial(_write, uris=uris, head=head, lines=lines, more=more)
    return plan.add(outputs.REPORT, "distilled", {"sets": len(uris)}, inputs, write)


def pictures(uri: str, title: str) -> Section:
    """The images of a set, class by class, and what making them took."""
    manifest, images = Table(uri).manifest, load(uri)
    names = manifest.get("classes") or [str(label) for label in range(manifest["num_classes"])]
    pixels = images.images.permute(0, 2, 3, 1).numpy()
    rows = [(name, pixels[(images.labels == label).numpy()][:SHOWN]) for label, name in enumerate(names)]
    told = f"{manifest.get('steps', 0):,} steps in {manifest['seconds']:.0f} s on {manifest.get('device', 'unknown hardware')}."
    return Section(title, told, png=figures.image_grid([("", rows)]))


def beside(evaluated: dict[str, Stage]) -> list[Section]:
    """The sets that several evaluations are of, by name."""
    return [pictures(made.inputs["table"].uri, name) for name, made in evaluated.items()]


def _write(
    worker: Worker, stage: Stage, config: Config, uris: list[str], head: list[str], lines: list[list[str]], more: list[Section]
) -> None:
    sections = [Section("Accuracy", NOTE, html=pages.table(head, lines)), *more]
    sections += [pictures(uri, Table(uri).manifest["name"]) for uri in uris]
    metrics = pa.concat_tables([Table(made.uri).read() for made in stage.inputs.values()])
    facts = {"versions": ", ".join(f"{name} {number}" for name, number in versions().items())}
    html = pages.page(
        "dsopt: distilled images", "Networks trained on a few synthetic images, beside as many real ones.", facts, sections
    )
    write_bytes(stage.path("report.html"), html.encode())
    outputs.commit(stage, metrics, seconds=outputs.spent(stage.inputs.values()))
