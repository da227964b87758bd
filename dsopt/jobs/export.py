"""export: a subset -> its pictures in the layout of another tool."""

from dsopt.data.subsets import exports
from dsopt.data.subsets.subset import listed
from dsopt.errors import InputError
from dsopt.files import absolute
from dsopt.jobs.job import Job
from dsopt.pipeline.plan import Plan
from dsopt.progress import Progress, say
from dsopt.storage import Stage, Table


def targets(plan: Plan) -> list[Stage]:
    """The subset. Raises InputError for wrong arguments."""
    config = plan.config
    if not config.input or not config.output:
        raise InputError("dsopt export: needs input=<the folder of a subset> and output=<a new folder>, local or s3://.")
    if "image" not in Table(config.input).manifest["schema"]:
        raise InputError(f"input={config.input}: is no table of images.")
    return [Stage.existing(config.input)]


def export(plan: Plan) -> None:
    """Write the pictures, and say where they are."""
    (stage,), config = targets(plan), plan.config
    assert config.output is not None
    output, table = absolute(config.output), Table(stage.uri)
    rows = listed(table, stored=True)
    progress = Progress("export", len(rows), "images")
    mark = {"subset": stage.folder, "format": config.format}
    exports.export(rows, output, config.format, table.manifest.get("classes"), mark, progress.update)
    say("export", f"{len(rows):,} images: {output}")


JOB = Job(
    about="""Copy the pictures of a subset into another layout: the original files, byte for byte.

    dsopt export input=runs/select/photos-kcenter-... output=chosen
    dsopt export input=... output=s3://bucket/chosen format=webdataset
    dsopt export input=... output=for-fiftyone format=fiftyone

folder: <class>/<key>; webdataset: tar shards with the image, cls and json; parquet: as on the Hugging Face hub, with class names;
fiftyone: a folder that FiftyOne imports as a FiftyOneDataset.
An interrupted export resumes with the same command; a folder that is not empty is refused.
""",
    keys="input output format storage",
    targets=targets,
    run=export,
)
