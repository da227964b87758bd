"""The page of an audit: how many of what, and pictures of the worst."""

from dsopt.config import Config
from dsopt.files import write_bytes
from dsopt.jobs.audit import pictures
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.reporting import page as pages
from dsopt.reporting.issues import summary
from dsopt.storage import METRICS, Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

NEXT = "select.drop=[...] leaves kinds out of a subset, and keeps one of each group of duplicates."


def page(plan: Plan, found: Stage) -> Stage:
    """The page of the issues of a data set."""
    inputs = {"issues": found, "images": found.inputs["images"]}
    return plan.add(outputs.REPORT, f"{plan.config.data.name}-audit", {}, inputs, _write)


def _write(worker: Worker, stage: Stage, config: Config) -> None:
    found, images = stage.inputs["issues"], Table(stage.inputs["images"].uri)
    manifest = Table(found.uri).manifest
    sections = [summary(manifest["found"], manifest["looked_for"], NEXT), *pictures.sections(Table(found.uri), images)]
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
