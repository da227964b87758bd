"""The page of an audit: how many of what, and pictures of the worst."""

from dsopt.config import Config
from dsopt.files import write_bytes
from dsopt.jobs.audit import pictures
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.registry import CHECKS, call
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.storage import METRICS, Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

HEAD = ["kind", "training", "test", "groups"]
NOTHING = "Nothing was changed or deleted: select.drop=[...] leaves kinds out of a subset. Images to keep are not counted."


def page(plan: Plan, found: Stage) -> Stage:
    """The page of the issues of a data set."""
    inputs = {"issues": found, "images": found.inputs["images"]}
    return plan.add(outputs.REPORT, f"{plan.config.data.name}-audit", {}, inputs, _write)


def lines(found: Stage, config: Config) -> list[list[str]]:
    """A line for each kind that was looked for: how many images of each split, and in how many groups."""
    counted = Table(found.uri).manifest["found"]
    looked_for = [name for name in (call(kind)[0] for kind in config.audit.kinds) if _looked_for(found, name)]
    none = {"train": 0, "test": 0, "groups": 0}
    return [[name, *(f"{count:,}" if count else "–" for count in counted.get(name, none).values())] for name in looked_for]


def _looked_for(found: Stage, name: str) -> bool:
    from dsopt.stages.issues import ABOUT

    return ABOUT[CHECKS.traits(name).needs] in found.inputs


def summary(found: Stage, config: Config) -> Section:
    """The first section of a page: how many of what."""
    return Section("Audit", NOTHING, html=pages.table(HEAD, lines(found, config)))


def _write(worker: Worker, stage: Stage, config: Config) -> None:
    found, images = stage.inputs["issues"], Table(stage.inputs["images"].uri)
    sections = [summary(found, config), *pictures.sections(Table(found.uri), images)]
    title = config.data.name if config.data.name != "folder" else (config.data.root or "").rstrip("/").rpartition("/")[2]
    html = pages.page(f"dsopt audit: {title}", _lead(found, images), _facts(found, images, config), sections)
    write_bytes(stage.path("report.html"), html.encode())
    outputs.commit(stage, METRICS.empty_table(), seconds=Table(found.uri).manifest["seconds"])


def _lead(found: Stage, images: Table) -> str:
    splits = images.manifest["splits"]
    return f"What may be wrong with {splits['train']:,} training and {splits['test']:,} test images."


def _facts(found: Stage, images: Table, config: Config) -> dict[str, str]:
    facts = {"data": " ".join(filter(None, [config.data.name, config.data.root]))}
    if "embeddings" in found.inputs:
        facts["encoder"] = ", ".join(config.embed.encoder) if config.embed.source == "encoder" else str(config.embed.table)
    if "labels" in found.inputs:
        scores = Table(found.inputs["labels"].inputs["scores"].uri).manifest
        right = scores.get("accuracy", scores.get("train_accuracy", 0.0))
        facts["judge of labels"] = f"{config.audit.judge}, right for {100 * right:.1f} % of the training images"
    facts["checks"] = f"{Table(found.uri).manifest['seconds']:.0f} s"
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in versions().items())
    return facts
