"""measure: generated and real images -> metrics: how close the generated images are to real ones that were not trained on."""

import time
from typing import NamedTuple

import torch
from torch import Tensor

from dsopt.config import Config, differing
from dsopt.data.batches import take
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.evaluation.measures import inception_score, measures
from dsopt.evaluation.nearest import memorised
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.seeds import derive
from dsopt.stages import classifier, features, generator, ingest, proxy
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

MEASURE = Kind("measure", version=2)
CAS = ("cas", "cas_train")  # inputs of a measure that are trained classifiers
DISTANCE = {"classifier": "fcd", "inception": "fid"}  # only by Inception's features the Fréchet distance is called FID


def measured(plan: Plan, samples: Stage, seed: int) -> Stage:
    """The measures of a table of generated images.

    - Those of `measures` against the test images, with the Fréchet distance as `fcd` or `fid`. The suffix `_train` marks the values
      of as many training images: no generator can be expected to do better.
    - Those of `memorised` by features and, with the suffix `_pixels`, by pixels, against what the generator learned from.
    - With Inception as extractor, `inception_score`.
    - With measure.against=learned, distances are from what the generator learned from instead of the test images, as some papers
      have them, and `_train` marks those of test images.
    - With the classifier as extractor, `gan_test`, the share of generated images that it assigns to the class they were generated
      for, and `gan_test_real`, its accuracy on test images (Shmelkov et al. 2018, arXiv:1807.09499).
    - With measure.cas=true, `cas`, the test accuracy of a classifier trained on generated images alone, and `cas_train`, of one
      trained on all real training images (Ravuri & Vinyals 2019, arXiv:1905.10887).

    Args:
        seed: of the trainings for `cas`.
    """
    config, real = plan.config, features.features(plan)
    made_of = differing(config, "measure.samples", "measure.neighbours", "measure.against", "seed")
    inputs = {"samples": samples, "features": real}
    if config.measure.cas:
        full = classifier.Row("real images", "full", 0.0, ingest.images(plan))
        inputs |= {"cas": cas(plan, samples, seed), "cas_train": classifier.run(plan, full, seed)}
    return plan.add(MEASURE, samples.name, made_of, inputs, _measure, where="worker")


def cas(plan: Plan, samples: Stage, seed: int) -> Stage:
    """A classifier trained on generated images alone; its test accuracy is the classification accuracy score (arXiv:1905.10887)."""
    return classifier.run(plan, classifier.Row("generated images alone", "cas", 1.0, ingest.images(plan), samples), seed)


class _Seen(NamedTuple):
    """Images and their features."""

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
    generated = _generated(samples, test, stage, config, random, worker.device)
    test = test.rows(_draw(len(test.ids), config.measure.samples, random))
    as_many = train.rows(_draw(len(train.ids), len(generated.ids), random))
    known = train.rows(torch.isin(train.ids, _learned_from(samples, train.ids)).nonzero().squeeze(1))
    reference = test
    if config.measure.against == "learned":
        reference, as_many = known.rows(_draw(len(known.ids), config.measure.samples, random)), test
    found = _by_features(reference, generated, as_many, config, random)
    found |= memorised(generated.features, test.features, known.features)
    pixels = memorised(*(x.images.flatten(1).to(worker.device) for x in (generated, test, known)))
    found |= {f"{name}_pixels": value for name, value in pixels.items()}
    if config.measure.extractor == "classifier":
        found |= _by_class(view, generated, test, worker.device)
    else:
        found["inception_score"] = inception_score(features.inception_of(config, worker.device).logits(generated.features))
    found |= {name: _test_accuracy(stage.inputs[name]) for name in CAS if name in stage.inputs}
    seconds = time.monotonic() - started
    split = "test" if reference is test else "learned from"
    about = {"n_real": len(reference.ids), "n_fake": len(generated.ids), "n_learned_from": len(known.ids), "reference": split}
    about |= {"extractor": config.measure.extractor, "device": worker.describe()}
    metrics = outputs.measured(stage, config.seed, found)
    outputs.commit(stage, metrics, seconds=seconds, seed=config.seed, **about)
    name = DISTANCE[config.measure.extractor]
    real = f"{found[f'{name}_train']:.2f} of real images"
    say(f"measure {stage.name}", f"{name} {found[name]:.2f} ({real})  coverage {found['coverage']:.3f}")


def _test_accuracy(trained: Stage) -> float:
    rows = Table(trained.uri).read(columns=["split", "name", "value"]).to_pylist()
    return next(row["value"] for row in rows if (row["split"], row["name"]) == ("test", "accuracy"))


def _draw(count: int, most: int, random: torch.Generator) -> Tensor:
    """At most `most` of the row indices, drawn without replacement."""
    return torch.randperm(count, generator=random)[:most]


def _real(view: Stage, split: str, device: torch.device) -> _Seen:
    """All real images of a split; a features table has its rows in the order of the images."""
    images = load(view.inputs["images"].uri, split)
    blocks = Table(view.uri).blocks(split, ["embedding"])
    found = [torch.from_numpy(b["embedding"].combine_chunks().to_numpy_ndarray().copy()) for b in blocks]  # pyright: ignore
    return _Seen(images.ids, images.images, images.labels, torch.cat(found).to(device))


def _generated(samples: Stage, real: _Seen, stage: Stage, config: Config, random: torch.Generator, device: torch.device) -> _Seen:
    """Generated images, at most `measure.samples` of them."""
    images = load(samples.uri)
    if images.images.shape[1:] != real.images.shape[1:]:
        found, expected = ("x".join(map(str, x.images.shape[1:])) for x in (images, real))
        raise InputError(f"{samples.uri}: has images of {found}, but the real ones of this configuration are {expected}.")
    rows = _draw(len(images.ids), config.measure.samples, random)
    chosen = take(images.images, rows)
    extract = features.extractor(stage.inputs["features"], config, device)
    return _Seen(images.ids[rows], chosen, images.labels[rows], extract(chosen).to(device))


def _learned_from(samples: Stage, everything: Tensor) -> Tensor:
    """The ids of the images that these were learned or copied from; of all training images where that is not recorded."""
    source = samples.inputs.get("generator", samples)
    if "base" not in source.inputs:
        return everything
    table = generator.learned_from(source)
    return torch.from_numpy(table.read(table.training(), ["id"])["id"].to_numpy().copy())


def _by_features(test: _Seen, generated: _Seen, train: _Seen, config: Config, random: torch.Generator) -> dict[str, float]:
    k, distance = config.measure.neighbours, DISTANCE[config.measure.extractor]
    found = measures(test.features, generated.features, k, random)
    found |= {f"{name}_train": value for name, value in measures(test.features, train.features, k, random).items()}
    return {name.replace("frechet", distance): value for name, value in found.items()}


def _by_class(view: Stage, generated: _Seen, test: _Seen, device: torch.device) -> dict[str, float]:
    """The classifier's accuracy on generated and on real images; nothing if the generated images have no labels."""
    last = proxy.Judge(view.inputs["proxy"], device).last
    with torch.inference_mode():
        accuracies = [(last(x.features).argmax(1).cpu() == x.labels).double().mean() for x in (generated, test)]
    return dict(zip(("gan_test", "gan_test_real"), map(float, accuracies), strict=True)) if (generated.labels >= 0).all() else {}
