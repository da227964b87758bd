"""What the work of a stage needs of the data set, asked as soon as that is there; the one place for it."""

from collections.abc import Mapping

from dsopt.config import Config
from dsopt.data.understood import shown
from dsopt.errors import InputError
from dsopt.progress import say
from dsopt.selection.choose import resolve
from dsopt.selection.listed import Listed, choose_listed
from dsopt.storage import Stage, Table


def labels(stage: Stage, config: Config) -> None:
    """For what is trained on labels. Raises InputError."""
    need(stage.inputs["images"], config, stage.kind.name, test=False)


def labels_and_test(stage: Stage, config: Config) -> None:
    """For what is trained on labels and judged by test images. Raises InputError."""
    need(stage.inputs["images"], config, stage.kind.name)


def need(images: Stage, config: Config, what: str, *, labels: bool = True, test: bool = True) -> None:
    """Refuse images without labels, or without test images.

    Args:
        what: needs them, for the message.

    Raises:
        InputError: they are not there, and data.check is on.
    """
    manifest = Table(images.uri).manifest
    if not config.data.check:
        return
    if labels and not manifest.get("labelled", True):
        hints = manifest.get("understood", {}).get("hints", [])
        raise InputError("; ".join([f"{what}: needs labels, and the data set has none", *hints]) + ".")
    if test and not manifest.get("splits", {"test": 1})["test"]:
        raise InputError(
            f"{what}: needs test images, and the data set has none; expected a folder or file of a test split, or a larger "
            f"data.test_fraction ({config.data.test_fraction:g})."
        )


def no_overlooked_labels(images: Stage, config: Config) -> None:
    """For what does without labels where there are none. Raises InputError if the source may hold some that were not read."""
    hints = [hint for hint in Table(images.uri).manifest.get("understood", {}).get("hints", []) if "label" in hint]
    if config.data.check and hints:
        raise InputError(f"data: read without labels, but {'; '.join(hints)} (data.check=off takes it without labels).")


def budget(stage: Stage, config: Config) -> None:
    """For a selection: no more images than there are, and classes that can give their share. Raises InputError."""
    select, table = config.select, Table(stage.inputs["images"].uri)
    rows = table.rows("train")
    if not config.data.check or not rows:
        return
    count = resolve(select.budget, rows)
    classes = _counts(table)
    if select.per_class and classes:
        share, smallest = count // len(classes), min(classes, key=lambda name: classes[name])
        if classes[smallest] < share:
            text = f"class {shown(smallest)} has {classes[smallest]:,} images, the budget asks {share:,} of each; others fill up"
            say(f"select {select.name}", f"warning: select.per_class=true: {text}")


def listed(stage: Stage, config: Config, listed: Listed) -> None:
    """For a list of images: all of them are there. Raises InputError."""
    choose_listed(listed, Table(stage.inputs["images"].uri).parts("train"))


def distilling(stage: Stage, config: Config) -> None:
    """For distillation: labels, and classes of at least as many real images as are distilled. Raises InputError."""
    labels(stage, config)
    classes, wanted = _counts(Table(stage.inputs["images"].uri)), config.distill.per_class
    if config.data.check and classes and min(classes.values()) < wanted:
        smallest = min(classes, key=lambda name: classes[name])
        text = f"class {shown(smallest)} has {classes[smallest]:,} images only"
        say(f"distill {config.distill.name}", f"warning: distill.per_class={wanted}: {text}")


def _counts(table: Table) -> Mapping[str, int]:
    """The training images of each class; empty where there are no labels, or where the table is not of ingest."""
    counts = table.manifest.get("understood", {}).get("counts", {}).get("train")
    return counts if isinstance(counts, dict) else {}
