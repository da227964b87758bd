"""The page of colorizers: their measures beside those of no colors and of the true ones, and test images in all of them."""

from html import escape
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.augment.geometry import center_crop
from dsopt.config import Config, differing
from dsopt.data import photos
from dsopt.data.loading import load
from dsopt.data.pixels import Unusable
from dsopt.errors import InputError
from dsopt.files import read_bytes, write_bytes
from dsopt.generation.colorize import colorized
from dsopt.jobs import audited
from dsopt.pipeline import adversaries, outputs
from dsopt.pipeline.plan import Plan
from dsopt.reporting import beside as beside_paper
from dsopt.reporting import figures
from dsopt.reporting import page as pages
from dsopt.reporting.losses import loss_panels
from dsopt.reporting.page import Section
from dsopt.stages.colorizer import Colorizer
from dsopt.stages.measure_colors import grey, recolored
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker
from dsopt.version import versions

SHOWN = 20  # test images
PHOTO = 640  # pixels of the longer side of a photograph, shown at half of it
COLUMNS = {"fcd": "FCD", "fid": "FID", "ab_error": "ab error", "psnr": "PSNR, dB", "ssim": "SSIM", "colorfulness": "colorfulness"}
NOTE = (
    "FCD: Fréchet distance of a classifier's features from those of the true colors (FID: of Inception's). ab error: the mean "
    "distance from the true a and b. Errors are least for the mean of all colors that might be, which is nearly grey; how "
    "colorful it is and FCD tell more of what looks real. Accuracy: how often the classifier is right."
)


def page(plan: Plan, measures: list[Stage]) -> Stage:
    """The report of colorizers that are measured; the first is the one that the configuration describes."""
    inputs = {f"{index:03d}": stage for index, stage in enumerate(measures)}
    made_of = {"shown": SHOWN} | differing(plan.config, "reference")
    return plan.add(outputs.REPORT, f"{plan.config.data.name}-colors", made_of, inputs, _write)


def _write(worker: Worker, stage: Stage, config: Config) -> None:
    measures = list(stage.inputs.values())
    models = [made.inputs["colorizer"] for made in measures]
    runs = [Table(model.uri).read() for model in models]
    head, found = lines(measures)
    numbered = ", ".join(f"Colorizer {number}: {title(model)}" for number, model in enumerate(models, 1))
    sections = [
        Section("Measures", f"{Table(measures[0].uri).manifest['n']:,} test images. {NOTE}", html=pages.table(head, found)),
        Section(
            "Test images",
            f"The first ones, none of them picked. {numbered}.",
            png=_pictures({f"colorizer {number}": made for number, made in enumerate(measures, 1)}),
        ),
    ]
    sections[1:1] = beside_paper.section(config, _values(measures[0]))
    for model, metrics in zip(models, runs, strict=True):
        told = "Means of every 20 steps, faint, and their moving average."
        sections.append(Section(f"Losses of {title(model)}", told, png=loss_panels(metrics)))
    lead = "Colors that networks give to the lightness of images they have never seen."
    html = pages.page(
        f"dsopt: colors of {config.data.name}", lead, _facts(config, measures), [*audited.first(stage, config), *sections]
    )
    write_bytes(stage.path("report.html"), html.encode())
    metrics = pa.concat_tables([*runs, *(Table(made.uri).read() for made in measures)])
    outputs.commit(stage, metrics, seconds=outputs.spent([*models, *measures]))


def title(model: Stage) -> str:
    """A colorizer in words: "non_saturating + 100 l1"."""
    manifest = Table(model.uri).manifest
    return adversaries.loss_in_words(manifest["loss"], manifest["terms"])


def lines(measures: list[Stage]) -> tuple[list[str], list[list[str]]]:
    """The table: its head, and a line for no colors, for every colorizer, and for the true colors."""
    values = [_values(stage) for stage in measures]
    names = [name for name in COLUMNS if name in values[0]]
    accurate = "accuracy" in values[0]
    distance = next((name for name in names if name in ("fcd", "fid")), "")
    truth = {distance: 0.0, "ab_error": 0.0, "ssim": 1.0}
    truth |= {name.removesuffix("_true"): value for name, value in values[0].items() if name.endswith("_true")}
    no_colors = {name: values[0][f"{name}_grey"] for name in [*names, *(["accuracy"] if accurate else [])]}
    rows = [("no colors", no_colors), *((title(s.inputs["colorizer"]), v) for s, v in zip(measures, values, strict=True))]
    cells = [
        [row, *(_cell(found, name, 1.0) for name in names), *([_cell(found, "accuracy", 100.0)] if accurate else [])]
        for row, found in [*rows, ("true colors", truth)]
    ]
    return ["colors by", *(COLUMNS[name] for name in names), *(["accuracy, %"] if accurate else [])], cells


def _values(stage: Stage) -> dict[str, float]:
    rows = Table(stage.uri).read(columns=["name", "value"]).to_pylist()
    return {row["name"]: row["value"] for row in rows}


def _cell(values: dict[str, Any], name: str, scale: float) -> str:
    return f"{scale * values[name]:.2f}" if name in values else ""


def beside(measured: dict[str, Stage], photo: str | None = None) -> list[Section]:
    """Test images in the colors of several colorizers, by name: a row each, from their measures' inputs.

    Args:
        photo: a photograph that each of them colors too (the colorization study's figure 7).
    """
    found = [Section("Test images", "The first ones, none of them picked.", png=_pictures(measured))]
    return [*found, *([_photograph(measured, photo)] if photo else [])]


def _photograph(measured: dict[str, Stage], uri: str) -> Section:
    try:
        photo = photos.read(read_bytes(uri))
    except (Unusable, FileNotFoundError, IsADirectoryError) as reason:
        raise InputError(f"input={uri}: must be one photograph for a sweep of colorizers: {reason}.") from None
    scale = min(1.0, PHOTO / max(photo.pixels.shape[1:]))
    sides = [max(1, round(scale * side)) for side in photo.pixels.shape[1:]]
    small = F.interpolate(photo.pixels[None].float(), sides, mode="area")[0].round().to(torch.uint8)
    shown = [("lightness", recolored(small[None], grey)[0])]
    for name, made in measured.items():
        colorizer = Colorizer(made.inputs["colorizer"], torch.device("cpu"))
        shown.append((name, colorized(small, colorizer, colorizer.size, colorizer.multiple)))
    html = "\n".join(f"<h3>{escape(name)}</h3>\n{pages.figure(_png(photo, picture), name)}" for name, picture in shown)
    return Section("One photograph", "Every colorizer sees its lightness alone, and none its own colors.", html=html)


def _png(photo: photos.Photo, pixels: Tensor) -> bytes:
    return photos.write(photo._replace(pixels=pixels), "photo.png").data


def _pictures(measured: dict[str, Stage]) -> bytes:
    colorizers = {name: Colorizer(made.inputs["colorizer"], torch.device("cpu")) for name, made in measured.items()}
    images = load(next(iter(measured.values())).inputs["images"].uri, "test").images[:SHOWN]
    true = center_crop(images, next(iter(colorizers.values())).size)
    rows = [("lightness", recolored(true, grey)), ("true colors", true)]
    rows += [(name, recolored(true, colorizer)) for name, colorizer in colorizers.items()]
    return figures.image_grid([("", [(name, _pixels(some)) for name, some in rows])])


def _pixels(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def _facts(config: Config, measures: list[Stage]) -> dict[str, str]:
    model = measures[0].inputs["colorizer"]
    manifest = Table(model.uri).manifest
    table = Table(measures[0].inputs["images"].uri)
    return {
        "data": f"{config.data.name}: {table.rows('train'):,} images of {table.manifest['image_size']} pixels",
        "training": f"{manifest['steps']:,} steps in {manifest['seconds']:.0f} s: {title(model)}",
        "colorizer": model.uri,
        "seed": str(manifest["seed"]),
        "hardware": manifest["device"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
