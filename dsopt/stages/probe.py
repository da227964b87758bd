"""probe: images + embeddings -> the scores table of a linear probe, as of a proxy; images are judged by what has not seen them."""

import time
from typing import Any

import pyarrow as pa
import torch

from dsopt.config import Config, differing
from dsopt.config.training import ProbeConfig
from dsopt.errors import InputError
from dsopt.learners.probe import probe
from dsopt.pipeline import outputs
from dsopt.pipeline.plan import Plan
from dsopt.progress import Progress, say
from dsopt.selection.reading import blocks
from dsopt.stages import embed, ingest, needs
from dsopt.stages.proxy import as_columns
from dsopt.storage import Kind, Stage, Table
from dsopt.training.dynamics import Dynamics
from dsopt.training.worker import Worker

PROBE = Kind("probe", 3)


def model(plan: Plan) -> Stage:
    """The probe of the configured embeddings. Raises InputError if these are of a proxy that is to be this probe."""
    config = plan.config
    if config.embed.source == "encoder" and "proxy" in config.embed.encoder and config.proxy.name == "probe":
        raise InputError("embed.encoder=proxy: the proxy is a probe of the embeddings; expected another encoder.")
    inputs = {"images": ingest.images(plan), "embeddings": embed.embeddings(plan)}
    made_of = differing(config, "probe", "seed")
    return plan.add(PROBE, config.data.name, made_of, inputs, _fit, where="worker", needs=_labelled)


def fitting(settings: ProbeConfig) -> dict[str, Any]:
    """The options of `dsopt.learners.probe.fit`."""
    return {name: getattr(settings, name) for name in ("epochs", "batch_size", "learning_rate", "weight_decay")}


def _labelled(stage: Stage, config: Config) -> None:
    needs.need(stage.inputs["images"], config, "probe", test=False)


def _fit(worker: Worker, stage: Stage, config: Config) -> None:
    images, settings = Table(stage.inputs["images"].uri), config.probe
    read = [block for part in Table(stage.inputs["embeddings"].uri).parts() for block in blocks(part)]
    ids, labels, embeddings = (torch.cat(columns) for columns in zip(*read, strict=True))
    if len(ids) < 2 * settings.folds:
        raise InputError(f"probe.folds={settings.folds}: {len(ids)} images; expected at least two a fold.")
    dynamics, started = Dynamics(len(ids), settings.epochs), time.monotonic()
    progress = Progress("probe", settings.epochs * len(ids), "images")
    found = probe(
        embeddings,
        labels,
        images.manifest["num_classes"],
        config.seed,
        folds=settings.folds,
        observe=dynamics,
        progress=progress.update,
        **fitting(settings),
    )
    probabilities = found.logits.softmax(1)
    error = probabilities - torch.nn.functional.one_hot(labels, probabilities.shape[1])
    grand = error.norm(dim=1) * (found.features.square().sum(1) + 1).sqrt()
    columns = as_columns(ids, labels, dynamics.scores() | {"grand": grand, "probability": probabilities})
    accuracy = float((probabilities.argmax(1) == labels).float().mean())
    seconds = time.monotonic() - started
    outputs.commit(
        stage, pa.table(columns), name="scores", seconds=seconds, seed=config.seed, accuracy=accuracy, device=worker.describe()
    )
    say("probe", f"accuracy {100 * accuracy:.1f} % on images that it has not seen, in {seconds:.1f} s")
