"""measure_colors: a colorizer and held-out images -> metrics: how true its colors are, how colorful, what a classifier says."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from dsopt.augment.geometry import center_crop
from dsopt.config import Config, differing
from dsopt.data import colors as lab
from dsopt.data.batches import take
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.evaluation.colors import colors
from dsopt.evaluation.frechet import Moments, frechet
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.seeds import derive
from dsopt.stages import features, ingest, proxy
from dsopt.stages.colorizer import Colorizer
from dsopt.stages.embed import weights_fingerprint
from dsopt.stages.measure import DISTANCE
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

MEASURE_COLORS = Kind("measure_colors")
BLOCK = 250  # images colored at once

Recolor = Callable[[Tensor], Tensor]  # colors [b, 2, h, w] for a lightness [b, 1, h, w], both in -1..1


def measured(plan: Plan, model: Stage) -> Stage:
    """The measures of a colorizer on test images of the configured data set.

    Those of `colors` for the images with its colors instead of their own, the Fréchet distance to the true ones as `fcd` or `fid`,
    and the `accuracy` of the classifier on them. Beside them, with `_grey` behind their names, the same for no colors at all, and
    with `_true` the accuracy and the colorfulness of the true ones. Without labels to train a classifier there is neither a
    distance nor an accuracy.
    """
    config, images = plan.config, ingest.images(plan)
    inputs, made_of = {"images": images, "colorizer": model}, differing(config, "measure.samples", "measure.extractor", "seed")
    if config.measure.extractor == "inception":
        made_of["weights"] = weights_fingerprint(config.measure.weights, "measure")
    elif not images.done() or Table(images.uri).manifest["labelled"]:
        inputs["proxy"] = proxy.model(plan, "proxy")
    return plan.add(MEASURE_COLORS, model.name, made_of, inputs, _measure, where="worker")


def _measure(worker: Worker, stage: Stage, config: Config) -> None:
    started = time.monotonic()
    table = Table(stage.inputs["images"].uri)
    if table.manifest["channels"] != 3:
        raise InputError(f"data.name={config.data.name}: its images are grey; there are no colors to compare with.")
    colorizer, test = Colorizer(stage.inputs["colorizer"], worker.device), load(table.uri, "test")
    random = torch.Generator().manual_seed(derive(config.seed, "measure"))
    rows = torch.randperm(len(test.ids), generator=random)[: config.measure.samples]
    # On the part that is as large as what it learned on; the rest of its images it has never seen whole either.
    true, labels = center_crop(take(test.images, rows), colorizer.size), test.labels[rows]
    judge = _Reference(stage, config, worker, true, labels)
    found = judge.measures(colorizer)
    found |= {f"{name}_grey": value for name, value in judge.measures(grey).items()}
    found["colorfulness_true"] = found["colorfulness"] - found["colorfulness_gain"]
    found |= {f"{name}_true": value for name, value in judge.accuracy(judge.seen).items()}
    seconds = time.monotonic() - started
    about = {"n": len(rows), "reference": "test", "extractor": config.measure.extractor, "device": worker.describe()}
    metrics = outputs.measured(stage, config.seed, found)
    outputs.commit(stage, metrics, seconds=seconds, seed=config.seed, **about)
    told = ("fcd", "fid", "ab_error", "colorfulness")
    say(f"measure {stage.name}", "  ".join(f"{name} {found[name]:.3f}" for name in told if name in found))


def grey(lightness: Tensor) -> Tensor:
    """No colors: what any colorizer must be better than."""
    return torch.zeros_like(lightness).expand(-1, 2, -1, -1)


def recolored(true: Tensor, recolor: Recolor) -> Tensor:
    """Images, uint8 [b, 3, h, w], with their own lightness and other colors."""
    lightness, _ = lab.split(true.float() / 255)
    return (lab.join(lightness, recolor(lightness).float().cpu()) * 255).round().to(torch.uint8)


class _Reference:
    """What all recolorings of the same images are measured by."""

    def __init__(self, stage: Stage, config: Config, worker: Worker, true: Tensor, labels: Tensor) -> None:
        self.true, self.labels, self.distance = true, labels, DISTANCE[config.measure.extractor]
        classifier = "proxy" in stage.inputs
        sees = classifier or config.measure.extractor == "inception"
        self.extract = features.extractor(stage, config, worker.device) if sees else None
        self.last = proxy.Judge(stage.inputs["proxy"], torch.device("cpu")).last if classifier else None
        self.seen = self.extract(true) if self.extract else None

    def measures(self, recolor: Recolor) -> dict[str, float]:
        """The values of a recoloring of the images."""
        found: dict[str, float] = {}
        parts = []
        for true in self.true.split(BLOCK):
            made = recolored(true, recolor)
            for name, value in colors(true, made).items():
                found[name] = found.get(name, 0.0) + value * len(true) / len(self.true)
            if self.extract:
                parts.append(self.extract(made))
        if self.seen is None:
            return found
        seen = torch.cat(parts)
        found[self.distance] = frechet(Moments.of(self.seen), Moments.of(seen))
        return found | self.accuracy(seen)

    def accuracy(self, seen: Tensor | None) -> dict[str, float]:
        """How often the classifier is right about images, by their features; nothing where there is none to ask."""
        if self.last is None or seen is None:
            return {}
        with torch.inference_mode():
            return {"accuracy": float((self.last(seen).argmax(1) == self.labels).double().mean())}
