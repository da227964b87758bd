"""distill: images -> a few synthetic ones, as an images table that says how to train on it."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from dsopt.augment.inputs import Inputs, view_of
from dsopt.config import Choice, Config, differing, plain
from dsopt.data.holdout import divided
from dsopt.data.images import Images, encode
from dsopt.data.loading import load
from dsopt.distillation.contract import Distiller, Generator, Problem, Synthetic, check_repeatable, check_unrollable
from dsopt.distillation.normalisation import Normalisation, from_description, normalized_inputs, to_bytes
from dsopt.errors import InputError, JobError
from dsopt.files import delete
from dsopt.learners.placement import arithmetic
from dsopt.pipeline import networks, outputs
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import Run, StageCheckpoint, batches, fit_run, on_device
from dsopt.registry import AUGMENTATIONS, DISTILLERS, MODELS, NORMALISATIONS, SCHEDULES, STORED, call
from dsopt.seeds import derive
from dsopt.stages import generator, ingest, needs
from dsopt.storage import Kind, Stage, Table, with_image_feature
from dsopt.training.loop import Phase, State, resume
from dsopt.training.samplers.by_class import by_class
from dsopt.training.samplers.shuffle import shuffle
from dsopt.training.worker import Worker

DISTILL = Kind("distill")


def artefact(plan: Plan, seed: int | None = None) -> Stage:
    """The distilled images of the configured data set.

    Args:
        seed: of the distillation; not given: `config.seed`.
    """
    config, seed = plan.config, plan.config.seed if seed is None else seed
    check(config)
    made_of, inputs = differing(config, "distill") | {"seed": seed}, {"images": ingest.images(plan)}
    if STORED.traits(config.distill.stored.name).generated:
        inputs["generator"] = generator.model(plan, generator.base(plan), config.seed)  # one for all seeds of a sweep
    own, name = plan.having(dataclasses.replace(config, seed=seed)), f"{config.data.name}-{config.distill.name}"
    return own.add(DISTILL, name, made_of, inputs, _train, where="workers", needs=needs.distilling)


def check(config: Config) -> None:
    """Refuse, before anything starts, a network or a transform that distillation cannot use. Raises InputError."""
    for key, names in (("distill", config.distill.augment), ("evaluate", config.evaluate.augment)):
        for name in names:
            _check_transform(f"{key}.augment={name}", call(name)[0])
    stored, shape = config.distill.stored.name, (config.data.channels or 3, config.data.image_size, 10)
    if STORED.traits(stored).generated and not generator.untrained(config, shape).conditional:
        raise InputError(
            f"distill.stored.name={stored}: needs a class-conditional generator, which {config.generate.generator.name} as set is "
            "not; expected for example preset=cdcgan, preset=cdcvae or preset=csngan."
        )
    if STORED.traits(stored).generated and config.distill.validation:
        raise InputError(
            f"distill.validation={config.distill.validation}: must be 0 with a generator, which sees those held out too."
        )
    if stored != "pixels" and config.distill.name in ("kmeans", "halving"):
        raise InputError(f"distill.stored.name={stored}: {config.distill.name} takes real images as they are; expected pixels.")
    traits, network = DISTILLERS.traits(config.distill.name), config.distill.network
    if config.distill.compile != "off" and not traits.compiles:
        valid = [name for name in DISTILLERS.names() if DISTILLERS.traits(name).compiles]
        raise InputError(f"distill.compile={config.distill.compile}: not for {config.distill.name}; expected {', '.join(valid)}.")
    untrained = MODELS.build(network.name, network.options)(1, 2)
    if traits.learns:
        check_repeatable(untrained, network.name)
    if traits.unrolls:
        check_unrollable(untrained, network.name)


def _check_transform(given: str, name: str) -> None:
    """Refuse one that is not for synthetic images, which are as large as the network takes, and any numbers. Raises InputError."""
    if "size" in AUGMENTATIONS.defaults(name):
        raise InputError(f"{given}: changes the size of images; synthetic ones are as large as the network takes.")
    if getattr(AUGMENTATIONS.traits(name), "unit", False):
        raise InputError(f"{given}: is for pixels in 0..1, and these are normalised; expected flip, shift, rotate and the like.")


def fresh(choice: Choice, table: Table, device: torch.device) -> Callable[[], nn.Sequential]:
    """What makes untrained networks for the images of a table, from torch's global generator."""
    make = MODELS.build(choice.name, choice.options)
    return lambda: make(table.manifest["channels"], table.manifest["num_classes"]).to(device, non_blocking=True)


def real_images(table: Table, validation: float, size: int | None = None, *, held: bool = False) -> Images:
    """The training images less a share of them, the same for every seed; or those held out, to judge by.

    Args:
        size: the side in pixels to which larger ones are resized.
    """
    return divided(load(table.uri, "train", size=size), validation, 0, "distill.validation", held=held)


def normalisation_of(table: Table) -> Normalisation | None:
    """The one that a set was made with; None where it says nothing of it."""
    plain = table.manifest.get("normalisation")
    return from_description(plain, weights_of(table, "whitening")) if plain else None


def weights_of(table: Table, key: str) -> dict[str, torch.Tensor]:
    """The tensors in the file that the manifest of a set names under `key`; none where it names none."""
    return networks.load_weights(table, table.manifest[key]) if key in table.manifest else {}


def _train(worker: Worker, stage: Stage, config: Config) -> None:
    table, settings = Table(stage.inputs["images"].uri), config.distill
    view = view_of(settings.network.name, table.manifest["image_size"])
    images = real_images(table, settings.validation, view.loaded)
    worker.meet()
    normalisation = NORMALISATIONS.build(settings.normalise.name, settings.normalise.options)(images.images, view.taken)
    inputs = normalized_inputs(normalisation, view.taken, view.loaded)
    found, problem = _problem(images, inputs, table, stage, config, worker)
    traits = DISTILLERS.traits(settings.name)
    if traits.balanced and settings.batch_size // problem.classes < worker.world:
        raise InputError(
            f"distill.batch_size={settings.batch_size}: {settings.name} wants images of all {problem.classes} classes on each of "
            f"{worker.world} worker(s): at least {problem.classes * worker.world}."
        )
    state = State()
    if traits.learns:
        draw = by_class(problem.labels.cpu(), settings.batch_size, derive(config.seed, "order")) if traits.balanced else None
        draw = draw or shuffle(len(problem.labels), settings.batch_size, derive(config.seed, "order"))
        source = batches(draw, problem.images, problem.labels, inputs, derive(config.seed, "distill"), worker)
        schedule = SCHEDULES.build(settings.schedule.name, settings.schedule.options)
        run = Run(stage, f"distill {settings.name}", config.seed, settings.batch_size)
        phases = [Phase(source, schedule, settings.steps)]
        try:
            state = fit_run(run, found, phases, config, worker)
        except JobError as error:
            raise JobError(f"{error}{_rescued(stage, config, found, phases, normalisation, table, worker)}") from None
    if worker.leads and not stage.done():
        _write(stage, config, found, normalisation, table, state, worker)


def _problem(
    images: Images, inputs: Inputs, table: Table, stage: Stage, config: Config, worker: Worker
) -> tuple[Distiller, Problem]:
    settings = config.distill
    classes = table.manifest["num_classes"]
    present = images.labels.unique()
    if len(present) != classes or int(present.min()) < 0:
        raise InputError(f"distill: needs images of all {classes} classes, labelled; there are {int((present >= 0).sum())}.")
    images = on_device(images, worker.device)
    problem = Problem(
        images.images,
        images.labels,
        inputs.test,
        classes,
        settings.per_class,
        fresh(settings.network, table, worker.device),
        settings.augment,
        config.seed,
        worker.device,
        worker.world,
        (settings.stored.name, dict(settings.stored.options)),
        _generator(stage, inputs, worker.device) if "generator" in stage.inputs else None,
        settings.steps,
        settings.compile,
    )
    return DISTILLERS.build(settings.name, settings.options)(problem), problem


def _generator(stage: Stage, inputs: Inputs, device: torch.device) -> Generator:
    """The trained generator, as a way to images that a network takes."""
    trained = generator.Trained(stage.inputs["generator"], device)
    variance = 1 if trained.kind == "normal" else 3  # of N(0, 1), and one over that of uniform noise in -1..1
    length = (trained.latent / variance) ** 0.5  # root mean square of the length of a latent vector
    network = trained.network.requires_grad_(False)
    return Generator(network, trained.noise, length, lambda made: inputs.test((made - trained.low) / (1 - trained.low)))


def _rescued(
    stage: Stage, config: Config, found: Distiller, phases: list[Phase], normalisation: Normalisation, table: Table, worker: Worker
) -> str:
    """After a divergence: the images of the last checkpoint, as an artefact of their own; what to tell of them."""
    state = resume(found, phases, StageCheckpoint(stage.path("checkpoint.pt")))
    if not state.total or not bool(found.synthetic().images.isfinite().all()):
        return ""
    kept = Stage(stage.storage, stage.kind, f"{stage.name}-step-{state.total}", {"of": stage.hash}, stage.inputs)
    if worker.leads and not kept.done():
        _write(kept, config, found, normalisation, table, state, worker)
    return f" The images of step {state.total:,}: {kept.folder}"


def _write(
    stage: Stage, config: Config, found: Distiller, normalisation: Normalisation, table: Table, state: State, worker: Worker
) -> None:
    """The artefact: a table of images that is of use to anyone, and in its manifest all that training on it needs."""
    synthetic = found.synthetic()
    rows = as_table(synthetic, normalisation, config.distill.name)
    weights = {name: value.cpu() for name, value in found.weights().items()}
    plainly, tensors = normalisation.describe()
    notes = {"weights": networks.save_weights(stage, weights, "weights")} if weights else {}
    notes |= {"whitening": networks.save_weights(stage, tensors, "whitening")} if tensors else {}
    notes |= {"validation": config.distill.validation} if config.distill.validation else {}
    notes |= found.passes.about() if DISTILLERS.traits(config.distill.name).compiles else {}  # pyright: ignore[reportAttributeAccessIssue]
    losses = [row for row in state.rows if row[3] == "loss"]
    outputs.commit(
        stage,
        rows,
        name="distilled",
        seconds=state.seconds,
        seed=config.seed,
        method=config.distill.name,
        steps=state.total,
        loss=losses[-1][4] if losses else None,
        per_class=config.distill.per_class,
        shape=list(synthetic.images.shape[1:]),
        loaded=view_of(config.distill.network.name, table.manifest["image_size"]).loaded,
        stored=plain(config.distill.stored),
        normalisation=plainly,
        network=plain(config.distill.network),
        recipe=dataclasses.asdict(found.recipe()),
        evaluate=f"dsopt evaluate input={stage.uri}",
        device=worker.describe(),
        arithmetic=arithmetic(torch.float32, worker.device),
        labelled=True,
        **table.about(),
        **notes,
    )
    delete(stage.path("checkpoint.pt"))


def as_table(synthetic: Synthetic, normalisation: Normalisation, method: str) -> pa.Table:
    """The images table of a synthetic set: 8-bit pictures for everyone, and beside them `pixels`, the exact numbers.

    Distilled images are not pictures: their numbers leave the range of bytes, and rounding them costs accuracy.
    """
    images = synthetic.images.cpu()
    count = len(images)
    rows = encode(Images(torch.arange(count), to_bytes(normalisation, images), synthetic.labels, synthetic.soft), [method] * count)
    flat = pa.array(np.ascontiguousarray(images.float().flatten().numpy()))
    table = rows.append_column("pixels", pa.FixedSizeListArray.from_arrays(flat, images[0].numel()))
    return table.cast(with_image_feature(table.schema))
