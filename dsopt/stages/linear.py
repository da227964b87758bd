"""linear: images, perhaps a subset, and embeddings -> how far a linear classifier of the embeddings gets, as metrics."""

import time
from functools import partial

import torch

from dsopt.config import Config, differing
from dsopt.learners.probe import fit
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.seeds import derive
from dsopt.selection.reading import blocks, of_ids
from dsopt.stages import embed, needs
from dsopt.stages.classifier import Row
from dsopt.stages.probe import fitting
from dsopt.storage import Kind, Stage, Table
from dsopt.training.worker import Worker

LINEAR = Kind("linear")


def run(plan: Plan, row: Row, seed: int) -> Stage:
    """The accuracy on the test images of a linear classifier of the embeddings of a row's images, with their own labels."""
    config, title = plan.config, f"{row.title}, seed {seed}"
    inputs = {"images": row.images} | ({"subset": row.subset} if row.subset else {})
    inputs |= {"embeddings": embed.embeddings(plan), "test": embed.embeddings(plan, "test")}
    made_of = differing(config, "probe", without=["probe.folds"]) | {"seed": seed}
    work, needed = partial(_work, seed=seed, title=title), needs.labels_and_test
    return plan.add(LINEAR, f"{config.data.name}-{row.method}", made_of, inputs, work, where="worker", title=title, needs=needed)


def _work(worker: Worker, stage: Stage, config: Config, seed: int, title: str) -> None:
    images, settings = Table(stage.inputs["images"].uri), config.probe
    own = Table(stage.inputs["subset"].uri).read(columns=["id"]) if "subset" in stage.inputs else images.read("train", ["id"])
    ids, labels, embeddings = of_ids(Table(stage.inputs["embeddings"].uri).parts(), torch.from_numpy(own["id"].to_numpy().copy()))
    started = time.monotonic()
    draw, everywhere = torch.Generator().manual_seed(derive(seed, "linear")), torch.ones(len(ids), 1, dtype=torch.bool)
    found = fit(embeddings, labels, everywhere, images.manifest["num_classes"], draw, **fitting(settings))
    seconds, right, count = time.monotonic() - started, 0, 0
    for part in Table(stage.inputs["test"].uri).parts():
        for _, true, tested in blocks(part):
            right += int((found.logits(found.features(tested))[:, 0].argmax(1) == true).sum())
            count += len(true)
    accuracy = right / count
    metrics = outputs.metrics([(stage.folder, seed, settings.epochs, seconds, "test", "accuracy", accuracy)])
    outputs.commit(stage, metrics, seconds=seconds, seed=seed, device=worker.describe())
    say(title, f"test accuracy {accuracy:.4f} in {seconds:.1f} s")
