"""measure: generated images and real ones -> metrics: how near the generated come to real images that nobody has learned from."""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from dsopt.config import Config, differing
from dsopt.data.batches import take
from dsopt.data.images import load
from dsopt.errors import InputError
from dsopt.evaluation.measures import measures
from dsopt.evaluation.nearest import memorised
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.seeds import derive
from dsopt.stages import classifier, features, generator, ingest, proxy
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

MEASURE = Kind("measure")
CAS = ("cas", "cas_train")  # inputs of a measure that are trained classifiers
DISTANCE = {"classifier": "fcd", "inception": "fid"}  # only by Inception's features the Fréchet distance is called FID


def measured(plan: Plan, samples: Stage, seed: int) -> Stage:
    """The measures of a table of generated images.

    Those of `measures` against the test images, the Fréchet distance as `fcd` or `fid`; with `_train` after their names the values
    that as many training images have, for no generator can be expected to be better; those of `memorised` by features and, with
    `_pixels`, by pixels, against what the generator learned from; and by the classifier `gan_test`, the share of generated images
    that it assigns to the class asked for, and `gan_test_real`, its accuracy on test images (Shmelkov et al., arXiv 1807.09499).
    With measure.cas=true the test accuracy of a training on generated images alone, `cas`, and of one on all real training images,
    `cas_train`.

    Args:
        seed: of these trainings.
    """
    config, real = plan.config, features.features(plan)
    made_of = differing(config, "measure.samples", "measure.neighbours", "seed")
    inputs = {"samples": samples, "features": real}
    if config.measure.cas:
        full = classifier.Row("real images", "full", 0.0, ingest.images(plan))
        inputs |= {"cas": cas(plan, samples, seed), "cas_train": classifier.run(plan, full, seed)}
    return plan.add(MEASURE, samples.name, made_of, inputs, _measure, where="worker")


def cas(plan: Plan, samples: Stage, seed: int) -> Stage:
    """The training of `train` on generated images alone: its test accuracy is their classification accuracy score (1905.10887)."""
    return classifier.run(plan, classifier.Row("generated images alone", "cas", 1.0, ingest.images(plan), samples), seed)


class _Seen(NamedTuple):
    """Images and what the extractor makes of them."""

    ids: Tensor
    images: Tensor  # uint8 [n, c, h, w]
    labels: Tensor
    features: Tensor  # [n, d], on the device

    def rows(self, rows: Tensor) -> "_Seen":
        return _Seen(self.ids[rows], take(self.images, rows), self.labels[rows], self.features[rows.to(self.features.device)])


def _measure(worker: Worker, stage: Stage, config: Config) -> None:
    started = time.monotonic()
    random = torch.Generator().manual_seed(derive(config.seed, "measure"))
    samples, view = stage.inputs["samples"], stage.inputs["features"]
    train, test = (_real(view, split, worker.device) for split in ("train", "test"))
    made = _made(samples, test, stage, config, random, worker.device)
    test = test.rows(_draw(len(test.ids), config.measure.samples, random))
    as_many = train.rows(_draw(len(train.ids), len(made.ids), random))
    known = train.rows(torch.isin(train.ids, _learned_from(samples, train.ids)).nonzero().squeeze(1))
    found = _by_features(test, made, as_many, config, random)
    found |= memorised(made.features, test.features, known.features)
    pixels = memorised(*(x.images.flatten(1).to(worker.device) for x in (made, test, known)))
    found |= {f"{name}_pixels": value for name, value in pixels.items()}
    if config.measure.extractor == "classifier":
        found |= _by_class(view, made, test, worker.device)
    found |= {name: _test_accuracy(stage.inputs[name]) for name in CAS if name in stage.inputs}
    seconds = time.monotonic() - started
    about = {"n_real": len(test.ids), "n_fake": len(made.ids), "n_learned_from": len(known.ids), "reference": "test"}
    about |= {"extractor": config.measure.extractor, "device": worker.describe()}
    metrics = outputs.measured(stage, config.seed, found)
    outputs.commit(stage, metrics, seconds=seconds, seed=config.seed, **about)
    name = DISTANCE[config.measure.extractor]
    perfect = f"{found[f'{name}_train']:.2f} of training images"
    say(f"measure {stage.name}", f"{name} {found[name]:.2f} ({perfect})  coverage {found['coverage']:.3f}")


def _test_accuracy(trained: Stage) -> float:
    rows = Table(trained.uri).read(columns=["split", "name", "value"]).to_pylist()
    return next(row["value"] for row in rows if (row["split"], row["name"]) == ("test", "accuracy"))


def _draw(count: int, most: int, random: torch.Generator) -> Tensor:
    """Some of the rows, without repetition."""
    return torch.randperm(count, generator=random)[:most]


def _real(view: Stage, split: str, device: torch.device) -> _Seen:
    """All real images of a split; a features table has its rows in the order of the images."""
    images = load(view.inputs["images"].uri, split)
    blocks = Table(view.uri).blocks(split, ["embedding"])
    found = [torch.from_numpy(b["embedding"].combine_chunks().to_numpy_ndarray().copy()) for b in blocks]  # pyright: ignore
    return _Seen(images.ids, images.images, images.labels, torch.cat(found).to(device))


def _made(samples: Stage, real: _Seen, stage: Stage, config: Config, random: torch.Generator, device: torch.device) -> _Seen:
    """Generated images, at most `measure.samples` of them."""
    images = load(samples.uri)
    if images.images.shape[1:] != real.images.shape[1:]:
        made, expected = ("x".join(map(str, x.images.shape[1:])) for x in (images, real))
        raise InputError(f"{samples.uri}: has images of {made}, but the real ones of this configuration are {expected}.")
    rows = _draw(len(images.ids), config.measure.samples, random)
    chosen = take(images.images, rows)
    extract = features.extractor(stage.inputs["features"], config, device)
    return _Seen(images.ids[rows], chosen, images.labels[rows], extract(chosen).to(device))


def _learned_from(samples: Stage, everything: Tensor) -> Tensor:
    """The ids of the images that generated images were learned or copied from; of all training images where nothing says less."""
    maker = samples.inputs.get("generator", samples)
    if "base" not in maker.inputs:
        return everything
    table = generator.learned_from(maker)
    return torch.from_numpy(table.read(table.training(), ["id"])["id"].to_numpy().copy())


def _by_features(test: _Seen, made: _Seen, train: _Seen, config: Config, random: torch.Generator) -> dict[str, float]:
    k, distance = config.measure.neighbours, DISTANCE[config.measure.extractor]
    found = measures(test.features, made.features, k, random)
    found |= {f"{name}_train": value for name, value in measures(test.features, train.features, k, random).items()}
    return {name.replace("frechet", distance): value for name, value in found.items()}


def _by_class(view: Stage, made: _Seen, test: _Seen, device: torch.device) -> dict[str, float]:
    """How often the classifier sees the class that an image has; nothing where made images have none."""
    last = proxy.Judge(view.inputs["proxy"], device).last
    with torch.inference_mode():
        right = [(last(x.features).argmax(1).cpu() == x.labels).double().mean() for x in (made, test)]
    return dict(zip(("gan_test", "gan_test_real"), map(float, right), strict=True)) if (made.labels >= 0).all() else {}
