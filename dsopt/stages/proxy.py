"""proxy and teacher: images -> a trained classifier, and the table of its scores for every training image.

Selection methods use the scores, embeddings can be its features, soft labels are its probabilities. It never sees test images.
"""

import math
from functools import partial
from typing import Literal

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.augment import draws
from dsopt.augment.inputs import Inputs
from dsopt.config import ClassifierConfig, Config, differing
from dsopt.data.batches import in_order
from dsopt.data.images import Images
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.files import delete
from dsopt.learners.placement import arithmetic, autocast, compute_dtype
from dsopt.pipeline import networks, outputs
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import Run, classifier_learner, describe_classifier, external, fit_run, shuffled, view
from dsopt.registry import SCHEDULES
from dsopt.seeds import derive
from dsopt.stages import ingest
from dsopt.storage import Kind, Stage, Table
from dsopt.training.dynamics import Dynamics
from dsopt.training.loop import Phase
from dsopt.training.worker import Worker

Role = Literal["proxy", "teacher"]
KINDS = {"proxy": Kind("proxy"), "teacher": Kind("teacher")}


def model(plan: Plan, role: Role) -> Stage:
    """The proxy or the teacher trained on the configured data set, with its scores table."""
    config, images = plan.config, ingest.images(plan)
    settings: ClassifierConfig = getattr(config, role)
    if settings.name == "probe":
        raise InputError(f"{role}.name=probe: a probe of embeddings takes no images, which are needed here; expected a classifier.")
    view(settings, config.data.image_size)  # refused before anything is done
    made_of = differing(config, role, "seed") | external(settings)
    train, check = partial(_train, role=role), partial(_check, role=role)
    return plan.add(KINDS[role], config.data.name, made_of, {"images": images}, train, where="workers", needs=check)


def _check(stage: Stage, config: Config, role: Role) -> None:
    table = Table(stage.inputs["images"].uri)
    settings: ClassifierConfig = getattr(config, role)
    if not table.manifest["labelled"]:
        raise InputError(f"{role}: the data set has no labels to train it with.")
    least = math.ceil(table.rows("train") / settings.batch_size)
    if settings.steps < least:
        raise InputError(f"{role}.steps={settings.steps}: must be at least {least}, to see every image once.")


def _train(worker: Worker, stage: Stage, config: Config, role: Role) -> None:
    table, settings = Table(stage.inputs["images"].uri), getattr(config, role)
    about = describe_classifier(settings, table)
    inputs = networks.described_transforms(about)
    images = load(table.uri, "train", size=inputs.loaded, decoded=None)
    worker.meet()
    learner = classifier_learner(settings, table, config.seed, worker)
    if not isinstance(learner.average.network, nn.Sequential):
        raise InputError(f"{role}.name={settings.name}: must be a torch.nn.Sequential whose last layer gives the logits.")
    visits = math.ceil(settings.steps * settings.batch_size / len(images.labels))
    dynamics = Dynamics(len(images.labels), visits, worker.device)
    feed = shuffled(images, inputs, settings.batch_size, derive(config.seed, role), worker, observe=dynamics)
    schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
    run = Run(stage, role, config.seed, settings.batch_size)
    state = fit_run(run, learner, [Phase(feed.source, schedule, settings.steps, memory=dynamics)], config, worker)

    if not worker.leads:
        return
    if stage.done():  # another driver was first
        delete(stage.path("checkpoint.pt"))
        return
    network = learner.average.averaged_network()
    columns = dynamics.scores() | _after_training(network, images, inputs, settings, worker)
    correct = (columns["probability"].argmax(1) == images.labels).float().mean()
    scores = pa.table(as_columns(images.ids, images.labels, columns))
    notes = {"steps": state.total, "train_accuracy": float(correct), "device": worker.describe()}
    notes |= {"arithmetic": arithmetic(learner.dtype, worker.device), **learner.passes.about()}
    notes["model"] = about | {"weights": networks.save_weights(stage, network.state_dict())}
    outputs.commit(stage, scores, name="scores", seconds=state.seconds, seed=config.seed, **notes)
    delete(stage.path("checkpoint.pt"))


def as_columns(ids: Tensor, labels: Tensor, columns: dict[str, Tensor]) -> dict[str, pa.Array]:
    """The columns of a table of scores, values [n] or lists [n, k]."""

    def array(column: Tensor) -> pa.Array:
        flat = pa.array(column.flatten().numpy())
        return flat if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, column.shape[1])

    return {name: array(column) for name, column in ({"id": ids, "label": labels} | columns).items()}


@torch.inference_mode()
def _after_training(
    network: nn.Sequential, images: Images, inputs: Inputs, settings: ClassifierConfig, worker: Worker
) -> dict[str, Tensor]:
    """The columns of the scores table that need the trained network: `probability` and `grand`."""
    dtype, probabilities, gradient_norms = compute_dtype(settings.precision, worker.device), [], []
    for batch in in_order(images.images, images.labels, 1000, inputs.test, worker.device):
        with autocast(dtype, worker.device):
            features = network[:-1](batch.images)
            logits = network[-1](features)
        p = logits.float().softmax(1)
        error = p - torch.nn.functional.one_hot(batch.labels, p.shape[1])
        # The gradient in the last layer's weights and biases is error x (features, 1).
        gradient_norms.append((error.norm(dim=1) * (features.float().square().sum(1) + 1).sqrt()).cpu())
        probabilities.append(p.cpu())
    return {"grand": torch.cat(gradient_norms), "probability": torch.cat(probabilities)}


class Judge:
    """A finished proxy or teacher on a device, for images [b, c, h, w], uint8 or floats in 0..1.

    Rebuilt from the stage's folder alone. Raises InputError if the stage trained no classifier.
    """

    def __init__(self, stage: Stage, device: torch.device) -> None:
        table = Table(stage.uri)
        self.network = networks.trained(table, device).requires_grad_(False)
        self.inputs = networks.inputs_of(table)
        self.dtype = compute_dtype(networks.description_of(table)["precision"], device)
        self.device = device

    @property
    def last(self) -> nn.Module:
        """The last layer: features [b, d] -> logits [b, k]."""
        return self.network[-1]  # pyright: ignore[reportIndexIssue]

    @torch.inference_mode()
    def features(self, images: Tensor) -> Float[Tensor, "b d"]:
        """The inputs of the last layer, for images without augmentation."""
        return self.network[:-1](self.inputs.test(images.to(self.device)))  # pyright: ignore[reportIndexIssue]

    def logits(self, images: Tensor) -> Float[Tensor, "b k"]:
        """The logits of images without augmentation; differentiable with respect to float images."""
        return self.network(self.inputs.test(images.to(self.device)))

    @torch.inference_mode()
    def soft_labels(self, images: Tensor, views: int, seed: int) -> Float[Tensor, "b k"]:
        """The mean of its probabilities over `views` random draws of its training augmentation."""
        n, found = len(images), []
        drawn = [draws(derive(seed, i), n, 0, n, self.device) for i in range(views)]
        for draw in drawn:
            with autocast(self.dtype, self.device):
                found.append(self.network(self.inputs.train(images.to(self.device), draw)).float().softmax(1))
        return torch.stack(found).mean(0).cpu()
