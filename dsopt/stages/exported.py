"""export: images or a subset -> files in a layout that other training code reads, and a list of their keys."""

import time

from dsopt.config import Config
from dsopt.data.subsets import exports
from dsopt.data.subsets.subset import listed
from dsopt.files import write_bytes
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import Progress
from dsopt.stages.taken import KEYS, as_csv
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

EXPORT = Kind("export")
FILES, IDS = "files", "ids.csv"  # of the stage: the folder of pictures, and the list


def exported(plan: Plan, table: Stage, *, split: str = "train", files: bool = True) -> Stage:
    """The pictures of a table, original files where there are such, unless `select.content` is "working".

    Args:
        files: whether they are written; else there is only the list.
    """
    config = plan.config
    made_of = {"format": config.compare.export if files else None, "stored": config.select.content == "working", "split": split}
    return plan.add(EXPORT, table.name, made_of, {"table": table}, _export, title=f"export {table.name}, {split}")


def _export(worker: Worker, stage: Stage, config: Config) -> None:
    table, started = Table(stage.inputs["table"].uri), time.monotonic()
    split = stage.made_of["split"] if table.training() else None  # a subset has none
    rows, format = listed(table, stored=stage.made_of["stored"], split=split), stage.made_of["format"]
    if format and not exports.complete(stage.path(FILES)):
        progress = Progress(f"export {stage.name}", len(rows), "images")
        mark = {"stage": stage.inputs["table"].folder, **stage.made_of}
        exports.export(rows, stage.path(FILES), format, table.manifest.get("classes"), mark, progress.update)
    keys = rows.select(KEYS.names).cast(KEYS)
    write_bytes(stage.path(IDS), as_csv([keys]))
    outputs.commit(stage, keys, name="keys", seconds=time.monotonic() - started)
