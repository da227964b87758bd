"""measure: made images and real ones -> metrics: how near the made ones come to real ones that nobody has learned from."""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from dsopt.config import Config
from dsopt.data.batches import take
from dsopt.data.images import load
from dsopt.errors import InputError
from dsopt.evaluation.measures import measures
from dsopt.evaluation.nearest import memorised
from dsopt.pipeline import outputs
from dsopt.pipeline.step import Step
from dsopt.progress import say
from dsopt.seeds import derive
from dsopt.stages import classifier, features, generator, ingest, proxy
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

CAS = ("cas", "cas_train")  # inputs of a measure that are trained classifiers
DISTANCE = {"classifier": "fcd", "inception": "fid"}  # only by Inception's features the Fréchet distance is called FID


def measured(config: Config, samples: Stage, seed: int) -> tuple[Stage, list[Step]]:
    """The measures of a table of made images, and the steps that lead there from it and from the data set.

    Those of `measures` against the test images, the Fréchet distance as `fcd` or `fid`; with `_train` after their names the values
    that as many training images have, for no generator can be expected to be better; those of `memorised` by features and, with
    `_pixels`, by pixels, against what the generator learned from; and by the classifier `gan_test`, how often it sees the class
    that was asked for, and `gan_test_real`, how often on test images (Shmelkov et al., arXiv 1807.09499). With measure.cas=true the
    test accuracy of a training on made images alone, `cas`, and of one on all real training images, `cas_train`.

    Args:
        seed: of these trainings.
    """
    real, steps = features.features(config)
    made_of = {"samples": config.measure.samples, "neighbours": config.measure.neighbours, "seed": config.seed}
    trained = {"cas": cas(config, samples, seed), "cas_train": _on_real(config, seed)} if config.measure.cas else {}
    inputs = {"samples": samples, "features": real} | {name: step.stage for name, step in trained.items()}
    fed = classifier.scores(config, 1.0)[1] if trained else []
    stage = Stage(config.storage, "measure", samples.name, made_of, inputs)
    return stage, [*steps, *fed, *trained.values(), Step(stage, _work, parallel=True)]


def cas(config: Config, samples: Stage, seed: int) -> Step:
    """The training of `train` on made images alone: its test accuracy is their classification accuracy score (arXiv 1905.10887)."""
    row = classifier.Row("made images alone", "cas", 1.0, ingest.images(config)[0], samples)
    return classifier.run(config, row, seed)


def _on_real(config: Config, seed: int) -> Step:
    return classifier.run(config, classifier.Row("real images", "full", 0.0, ingest.images(config)[0]), seed)


class _Seen(NamedTuple):
    """Images and what the extractor makes of them."""

    ids: Tensor
    images: Tensor  # uint8 [n, c, h, w]
    labels: Tensor
    features: Tensor  # [n, d], on the device

    def rows(self, rows: Tensor) -> "_Seen":
        return _Seen(self.ids[rows], take(self.images, rows), self.labels[rows], self.features[rows.to(self.features.device)])


def _work(worker: Worker, stage: Stage, config: Config) -> None:
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
        found |= _by_class(view, made, test, config, worker.device)
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
    """Made images, at most so many as are to be looked at."""
    images = load(samples.uri)
    if images.images.shape[1:] != real.images.shape[1:]:
        made, right = ("x".join(map(str, x.images.shape[1:])) for x in (images, real))
        raise InputError(f"{samples.uri}: has images of {made}, but the real ones of this configuration are {right}.")
    rows = _draw(len(images.ids), config.measure.samples, random)
    chosen = take(images.images, rows)
    extract = features.extractor(stage.inputs["features"], config, device)
    return _Seen(images.ids[rows], chosen, images.labels[rows], extract(chosen).to(device))


def _learned_from(samples: Stage, everything: Tensor) -> Tensor:
    """The ids of the images that made images were learned or copied from; of all training images where nothing says less."""
    maker = samples.inputs.get("generator", samples)
    if not {"subset", "images"} & set(maker.inputs):
        return everything
    table, split = generator.learned_from(maker)
    return torch.from_numpy(table.read(split, ["id"])["id"].to_numpy().copy())


def _by_features(test: _Seen, made: _Seen, train: _Seen, config: Config, random: torch.Generator) -> dict[str, float]:
    k, distance = config.measure.neighbours, DISTANCE[config.measure.extractor]
    found = measures(test.features, made.features, k, random)
    found |= {f"{name}_train": value for name, value in measures(test.features, train.features, k, random).items()}
    return {name.replace("frechet", distance): value for name, value in found.items()}


def _by_class(view: Stage, made: _Seen, test: _Seen, config: Config, device: torch.device) -> dict[str, float]:
    """How often the classifier sees the class that an image has; nothing where made images have none."""
    last = proxy.trained(view.inputs["proxy"], config, device)[-1]
    with torch.inference_mode():
        right = [(last(x.features).argmax(1).cpu() == x.labels).double().mean() for x in (made, test)]
    return dict(zip(("gan_test", "gan_test_real"), map(float, right), strict=True)) if (made.labels >= 0).all() else {}
