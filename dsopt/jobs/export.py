"""export: a subset -> its pictures in the layout of another tool; a trained classifier -> a file for another program."""

from dsopt.data.subsets import exports
from dsopt.data.subsets.subset import listed
from dsopt.errors import InputError
from dsopt.files import absolute
from dsopt.jobs.job import Job
from dsopt.pipeline import interchange
from dsopt.pipeline.plan import Plan
from dsopt.progress import Progress, say
from dsopt.storage import Stage, Table

PICTURES = ("folder", "webdataset", "parquet", "fiftyone")


def targets(plan: Plan) -> list[Stage]:
    """The subset or the classifier. Raises InputError for wrong arguments."""
    config = plan.config
    if not config.input or not config.output:
        raise InputError("dsopt export: needs input=<the folder of a stage> and output=<a new folder>, local or s3://.")
    table = Table(config.input)
    formats = (*PICTURES * ("image" in table.manifest["schema"]), *interchange.FORMATS * ("model" in table.manifest))
    if not formats:
        raise InputError(f"input={config.input}: is neither a table of images nor a trained classifier.")
    if config.format not in formats:
        raise InputError(f"format={config.format}: is not for a stage of {table.manifest['stage']}; expected {', '.join(formats)}.")
    if config.format in interchange.FORMATS:
        interchange.check(table, config.format)
    return [Stage.existing(config.input)]


def export(plan: Plan) -> None:
    """Write the pictures or the classifier, and say where they are."""
    (stage,), config = targets(plan), plan.config
    assert config.output is not None
    output, table = absolute(config.output), Table(stage.uri)
    mark = {"stage": stage.folder, "format": config.format}
    if config.format in interchange.FORMATS:
        with exports.new_folder(output, mark):
            interchange.export(table, config.format, output)
        say("export", f"model.{config.format}, model.json: {output}")
        return
    rows = listed(table, stored=True)
    progress = Progress("export", len(rows), "images")
    exports.export(rows, output, config.format, table.manifest.get("classes"), mark, progress.update)
    say("export", f"{len(rows):,} images: {output}")


JOB = Job(
    about="""Copy the pictures of a subset into another layout, byte for byte, or a trained classifier into one file.

    dsopt export input=runs/select/photos-kcenter-... output=chosen
    dsopt export input=... output=s3://bucket/chosen format=webdataset
    dsopt export input=... output=for-fiftyone format=fiftyone
    dsopt export input=runs/train/photos-full-... output=model format=onnx

folder: <class>/<key>; webdataset: tar shards with the image, cls and json; parquet: as on the Hugging Face hub, with class names;
fiftyone: a folder that FiftyOne imports as a FiftyOneDataset. onnx: from bytes to logits; safetensors: the weights alone.
An interrupted export resumes with the same command; a folder that is not empty is refused.
""",
    keys="input output format storage",
    targets=targets,
    run=export,
)
