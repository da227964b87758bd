"""What an audit found of the data, as the first section of every page."""

from collections.abc import Iterator

from dsopt.config import Config
from dsopt.errors import InputError
from dsopt.files import join, list_files
from dsopt.reporting.issues import summary
from dsopt.reporting.page import Section
from dsopt.stages.ingest import INGEST
from dsopt.stages.issues import ISSUES_OF_ALL
from dsopt.storage import Stage, Table

MORE = "`dsopt audit` with the same keys shows the images, and checks embeddings and labels; select.drop leaves kinds out."


def first(stage: Stage, config: Config) -> list[Section]:
    """The section, if the images that a stage is made of were audited; of several audits the one that looked for most.

    No image is looked at for it: what is there was found by `dsopt audit`, or by the main job.
    """
    audits = [Table(uri).manifest for uri in _audits(stage)] if config.compare.audit else []
    best = max(audits, key=lambda manifest: len(manifest["looked_for"]), default=None)
    return [summary(best["found"], best["looked_for"], MORE)] if best else []


def _audits(stage: Stage) -> Iterator[str]:
    """The tables of issues of the images that a stage is made of."""
    images = next(_images(stage), None)
    if images:
        folder = join(images.rpartition("/")[0].rpartition("/")[0], ISSUES_OF_ALL.name)
        for name in list_files(folder):
            uri, _, file = join(folder, name).rpartition("/")
            if file == "_DONE" and Table(uri).input("images") == images:
                yield uri


def _images(stage: Stage) -> Iterator[str]:
    """The folders of the ingested images that a stage is made of."""
    if stage.kind.name == INGEST.name:
        yield stage.uri
        return
    inputs = list(stage.inputs.values())
    if not inputs and stage.done():  # known by its folder alone
        table = Table(stage.uri)
        inputs = [found for role in table.manifest["inputs"] if (found := _existing(table.input(role)))]
    for needed in inputs:
        yield from _images(needed)


def _existing(uri: str | None) -> Stage | None:
    try:
        return Stage.existing(uri) if uri else None
    except InputError:  # it was made elsewhere, or is gone
        return None
