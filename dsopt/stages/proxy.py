"""proxy and teacher: images -> a classifier trained for its judgement, and the scores table: what it tells about every image.

Selection methods go by the scores, embeddings can be its features, soft labels are its probabilities. It never sees test images.
"""

import math
from typing import Literal

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.augment import draws
from dsopt.augment.inputs import Inputs, make_inputs
from dsopt.config import ClassifierConfig, Config, plain
from dsopt.data.batches import in_order
from dsopt.data.images import Images, load
from dsopt.errors import InputError
from dsopt.files import delete
from dsopt.learners.placement import autocast, compute_dtype
from dsopt.pipeline import outputs
from dsopt.pipeline.step import Step
from dsopt.pipeline.training import Run, classifier_learner, fit_run, shuffled
from dsopt.registry import MODELS, SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import autoencoder, ingest
from dsopt.storage import Stage, Table
from dsopt.training.dynamics import Dynamics
from dsopt.training.loop import Phase
from dsopt.training.worker import Worker

Role = Literal["proxy", "teacher"]


def judge(config: Config, role: Role) -> tuple[Stage, list[Step]]:
    """The trained proxy or teacher of the configured data set, and the steps that lead to it."""
    images, steps = ingest.images(config)
    made_of = plain(getattr(config, role)) | {"seed": config.seed}
    stage = Stage(config.storage, role, config.data.name, made_of, {"images": images})
    return stage, [*steps, Step(stage, _distribute)]


def _distribute(stage: Stage, config: Config) -> None:
    from dsopt.cluster.train import distributed

    table = Table(stage.inputs["images"].uri)
    settings: ClassifierConfig = getattr(config, stage.kind)
    if not table.manifest["labelled"]:
        raise InputError(f"{stage.kind}: the data set has no labels to train it with.")
    least = math.ceil(table.rows("train") / settings.batch_size)
    if settings.steps < least:
        raise InputError(f"{stage.kind}.steps={settings.steps}: must be at least {least}, so that it sees every image once.")
    distributed(_train, (stage, config), config.cluster)


def _train(worker: Worker, stage: Stage, config: Config) -> None:
    table, settings = Table(stage.inputs["images"].uri), getattr(config, stage.kind)
    images = load(table.uri, "train")
    learner = classifier_learner(settings, table, config.seed, worker)
    inputs = _inputs(settings, table)
    dynamics = Dynamics(len(images.labels), math.ceil(settings.steps * settings.batch_size / len(images.labels)))
    feed = shuffled(images, inputs, settings.batch_size, derive(config.seed, stage.kind), worker, observe=dynamics)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    run = Run(stage, stage.kind, config.seed, settings.batch_size)
    state = fit_run(run, learner, [Phase(feed.source, schedule, settings.steps, memory=dynamics)], config, worker)
    if not worker.leads:
        return
    if stage.done():  # another driver was first
        delete(stage.path("checkpoint.pt"))
        return
    network = learner.average.finished()
    columns = dynamics.scores() | _after(network, images, inputs, settings, worker)
    right = (columns["probability"].argmax(1) == images.labels).float().mean()
    scores = pa.table({"id": pa.array(images.ids.numpy()), "label": pa.array(images.labels.numpy())} | _arrow(columns))
    notes = {"steps": state.total, "train_accuracy": float(right), "device": worker.describe()}
    notes["model"] = outputs.save_weights(stage, network.state_dict())
    outputs.commit(stage, scores, name="scores", seconds=state.seconds, seed=config.seed, **notes)
    delete(stage.path("checkpoint.pt"))


def _inputs(settings: ClassifierConfig, table: Table) -> Inputs:
    return make_inputs(settings.augment, autoencoder.input_size(settings.name, table.manifest["image_size"]), settings.standardise)


def _arrow(columns: dict[str, Tensor]) -> dict[str, pa.Array]:
    def array(column: Tensor) -> pa.Array:
        flat = pa.array(column.flatten().numpy())
        return flat if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, column.shape[1])

    return {name: array(column) for name, column in columns.items()}


@torch.inference_mode()
def _after(network: nn.Sequential, images: Images, inputs: Inputs, settings: ClassifierConfig, worker: Worker) -> dict[str, Tensor]:
    """The columns of the scores table that the trained network gives: `probability` and `grand`."""
    dtype, probabilities, lengths = compute_dtype(settings.precision, worker.device), [], []
    for batch in in_order(images.images, images.labels, 1000, inputs.test, worker.device):
        with autocast(dtype, worker.device):
            features = network[:-1](batch.images)
            logits = network[-1](features)
        p = logits.float().softmax(1)
        error = p - torch.nn.functional.one_hot(batch.labels, p.shape[1])
        # Of the last layer's weights and biases: error x (features, 1).
        lengths.append((error.norm(dim=1) * (features.float().square().sum(1) + 1).sqrt()).cpu())
        probabilities.append(p.cpu())
    return {"grand": torch.cat(lengths), "probability": torch.cat(probabilities)}


def trained(stage: Stage, config: Config, device: torch.device) -> nn.Sequential:
    """The network of a finished proxy or teacher, ready to judge."""
    table, settings = Table(stage.inputs["images"].uri), getattr(config, stage.kind)
    network = MODELS.build(settings.name, settings.options)(table.manifest["channels"], table.manifest["num_classes"])
    network.load_state_dict(outputs.weights(Table(stage.uri)))
    return network.to(device, memory_format=torch.channels_last).eval()


class Judge:
    """A finished proxy or teacher at work on a device: what it says of images [b, c, h, w], bytes or floats in 0..1."""

    def __init__(self, stage: Stage, config: Config, device: torch.device) -> None:
        self.settings: ClassifierConfig = getattr(config, stage.kind)
        self.network = trained(stage, config, device).requires_grad_(False)
        self.inputs = _inputs(self.settings, Table(stage.inputs["images"].uri))
        self.device = device

    @torch.inference_mode()
    def features(self, images: Tensor) -> Float[Tensor, "b d"]:
        """What goes into the last layer, for the images as a test sees them."""
        return self.network[:-1](self.inputs.test(images.to(self.device)))

    def logits(self, images: Tensor) -> Float[Tensor, "b k"]:
        """Of images as a test sees them; can be differentiated by floats."""
        return self.network(self.inputs.test(images.to(self.device)))

    @torch.inference_mode()
    def soft_labels(self, images: Tensor, views: int, seed: int) -> Float[Tensor, "b k"]:
        """The mean of its probabilities over `views` draws of its own training transforms."""
        dtype, n, found = compute_dtype(self.settings.precision, self.device), len(images), []
        drawn = [draws(derive(seed, view), n, 0, n, self.device) for view in range(views)]
        for view in drawn:
            with autocast(dtype, self.device):
                found.append(self.network(self.inputs.train(images.to(self.device), view)).float().softmax(1))
        return torch.stack(found).mean(0).cpu()
