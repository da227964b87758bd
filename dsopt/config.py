"""The one configuration tree. A preset, a sweep trial and a command line are the same thing: a list of overrides."""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from dsopt import registry
from dsopt.errors import InputError, unknown
from dsopt.registry import one_line


def _key(default: Any, says: str) -> Any:
    """A configuration key: its default and what `help=true` says of it."""
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata={"says": says})
    return field(default=default, metadata={"says": says})


def _part(part: type, says: str = "", **defaults: Any) -> Any:
    return field(default_factory=lambda: part(**defaults), metadata={"says": says})


@dataclass
class Choice:
    """A registered function and its options."""

    name: str = "???"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataConfig(Choice):
    name: str = _key("digits", "the data set")
    root: str | None = _key(None, "where it lies: a folder, a file, a glob, local or s3://")
    image_size: int = _key(32, "pixels a side; other sizes are resized once, at ingest")
    channels: int | None = _key(None, "1 grey, 3 colour; as the data has it when not given")
    test_fraction: float = _key(0.2, "share held out for testing where the data brings no test split")
    on_error: Literal["skip", "fail"] = _key("skip", "a broken row is left out and listed, or stops the job")
    limit: int | None = _key(None, "only the first rows of each split, for a quick look")


@dataclass
class OptimizerConfig:
    steps: int = _key(1000, "optimiser steps")
    batch_size: int = _key(128, "images a step, over all workers together")
    learning_rate: float = _key(0.1, "of SGD; the paper's 0.1")
    momentum: float = _key(0.9, "of SGD; 0 for the paper's conference version")
    schedule: Choice = _part(Choice, "how the learning rate goes", name="cosine")
    augment: list[str] = _key([], "training transforms, in order")
    precision: Literal["auto", "bf16", "fp32"] = _key("auto", "auto: bf16 where the hardware has it")


@dataclass
class AutoencoderConfig(OptimizerConfig, Choice):
    name: str = _key("autoencoder", "the model that makes embeddings")
    augment: list[str] = _key(["crop"], "training transforms, in order")


@dataclass
class ClassifierConfig(OptimizerConfig, Choice):
    name: str = _key("classifier24", "the network to train")
    augment: list[str] = _key(["crop", "flip", "brightness", "contrast"], "training transforms, in order")
    standardise: Literal["deviation", "variance"] = _key("deviation", "divide by the deviation, or as the paper's text says")
    weight_decay: float = _key(0.004, "on the fully connected layers only")
    average: float = _key(0.999, "decay of the averaged weights that are tested")
    learning_rate: float = _key(0.05, "of SGD; the paper's 0.1 was for batches of 1,024")


@dataclass
class EmbedConfig:
    source: Literal["autoencoder", "proxy", "network", "table"] = _key("autoencoder", "what makes the embeddings")
    network: str = _key("resnet18", "a classifier of torchvision.models, for source=network")
    weights: str | None = _key(None, "its weights: the path or s3:// URI of a state dictionary saved by torch")
    size: int = _key(224, "pixels a side that it takes; images are enlarged to that")
    table: str | None = _key(None, "Parquet with `id` and `embedding`, for source=table: a file, a folder or a glob")
    batch_size: int = _key(512, "images a forward pass")
    precision: Literal["auto", "bf16", "fp32"] = _key("fp32", "fp32 gives the same values on any number of workers")


@dataclass
class SelectConfig(Choice):
    name: str = _key("top_activation", "the selection method")
    budget: int | float = _key(0.0864, "how many images: a count (4320), or a share of the training set (0.0864)")
    per_class: bool = _key(False, "choose the same number from every class")
    pca: int | None = _key(None, "look only at this many principal components of the embeddings")
    shard_rows: int = _key(1_000_000, "embeddings seen at once; if there are more, every shard chooses first")
    soft_labels: Literal["none", "proxy", "teacher"] = _key("none", "whose probabilities are kept with the chosen images")
    views: int = _key(8, "augmented views of an image that a soft label is averaged over")


@dataclass
class TrainConfig(ClassifierConfig):
    learner: Literal["classifier", "autoencoder"] = _key("classifier", "what `jobs/train.py` trains")
    sampler: Choice = _part(Choice, "how the full data is fed", name="shuffle")
    overlap: bool = _key(False, "read the full set while the subset is trained on, and go over to it as it comes")
    validation: float = _key(0.0, "share of the training images held out to judge by, instead of the test images")
    validate_every: int = _key(0, "steps between two looks at them; 0: only after the last step")
    epochs: float | None = _key(None, "budget in epochs of the full set, instead of steps")
    passes: float | None = _key(None, "budget in passes over what is trained on, however few images, instead of steps")
    seconds: float | None = _key(None, "budget in seconds of training, instead of steps")
    split: float = _key(0.5, "share of the budget on the subset; fine-tuning on everything gets the rest")
    phases: list[dict[str, Any]] = _key([], "instead: [{data: subset, steps: 500}, {data: full, steps: 90, sampler: {name: rs2}}]")
    subset: str | None = _key(None, "`jobs/train.py`: a subset's folder instead of the one that `select` describes")


@dataclass
class CompareConfig:
    seeds: int = _key(3, "runs of every row, with seed, seed+1, ...")
    methods: list[str] = _key(["random", "random_balanced"], "baselines beside select.name")
    splits: list[float] = _key([1.0, 0.5], "shares of the budget on the subset, each a row")
    equal_cost: bool = _key(True, "one more row: full data, given the seconds of choosing on top")


@dataclass
class SweepConfig:
    of: Literal["train", "generate", "colorize"] = _key("train", "what a trial is: a classifier, a generator, a colorizer")
    title: str = _key("sweep", "a word for its folder and its page")
    paper: str = _key("", "what the paper had, told in the report")
    grid: dict[str, Any] = _key({}, "keys and their values, every combination a row: sweep.grid.train.split=[0,0.5,1]")
    rows: dict[str, Any] = _key({}, "named lists of overrides, each at every point of the grid: {BLUR: [extra.name=copies]}")
    also: list[list[str]] = _key([], "rows beside the grid, each a list of overrides: [[train.split=0]]")
    equal_cost: bool = _key(False, "one more row: full data, given the seconds that choosing with `select` takes on top")
    seeds: int = _key(3, "runs of every row, with seed, seed+1, ...; a search has one of each sample")
    x: str | None = _key(None, "the key on the x axis of the figure; not given: the first of the grid that has numbers")
    searcher: Literal["grid", "random", "optuna"] = _key("grid", "where trials come from: sweep.grid, or samples of sweep.space")
    space: dict[str, Any] = _key({}, "of a search: sweep.space.train.learning_rate={log: [0.001, 0.5]}, {uniform: ...} or a list")
    samples: int = _key(20, "trials of a search")
    scheduler: Literal["none", "asha"] = _key("none", "asha: stop trials early whose validation accuracy falls behind")
    grace: float = _key(0.1, "asha: share of its budget that every trial gets")
    reduction: int = _key(3, "asha: one of so many goes on at each halving")
    gpus: float = _key(1.0, "GPUs a trial, where workers have one; 0.25: four trials on each")


@dataclass
class ChildConfig(OptimizerConfig):
    steps: int = _key(600, "optimiser steps of full training")
    batch_size: int = _key(64, "images a step; fewer where a proxy has fewer")
    learning_rate: float = _key(0.05, "of SGD, the same for every child")
    standardise: Literal["deviation", "variance"] = _key("deviation", "divide by the deviation, or by the variance")
    weight_decay: float = _key(5e-4, "on the fully connected layers only")
    precision: Literal["auto", "bf16", "fp32"] = _key("fp32", "of tiny networks, bf16 is no faster")


@dataclass
class SharedConfig:
    steps: int = _key(2000, "steps of the shared weights, each on a batch with a child of its own")
    rounds: int = _key(10, "times the controller learns between them")
    updates: int = _key(30, "of the controller a round")
    samples: int = _key(10, "children an update")
    learning_rate: float = _key(0.0035, "of the controller's Adam")
    candidates: int = _key(1000, "children that the trained controller names at the end")
    batches: int = _key(10, "of held-out images that each of them is judged on; the best ten then on all")


@dataclass
class SearchConfig:
    space: Choice = _part(Choice, "the networks to choose from", name="mini216")
    strategy: Choice = _part(Choice, "how children are chosen", name="random")
    children: int = _key(60, "how many are tried")
    proxy: dict[str, Any] = _key({}, "what they are trained on, not given: all: {data: random_balanced, images: 100, steps: 200}")
    set: str | None = _key(None, "a distilled or other set's folder, for presets: {data: '${search.set}'}")
    proxies: list[dict[str, Any]] = _key([], "stand-ins whose ranking of children is compared with the truth; none: no study")
    known: int = _key(60, "children by chance whose truth is found for the study")
    seeds: int = _key(3, "full trainings of a child for its truth, and of every finalist")
    finalists: int = _key(5, "children of the search that are trained in full before one is chosen")
    validation: float = _key(0.2, "share of the training images held out to judge children by")
    train: ChildConfig = _part(ChildConfig)
    shared: SharedConfig = _part(SharedConfig)
    ahead: int = _key(16, "children named before the first of them is known; more let more run at once, but learn later")
    bundle: int = _key(8, "children that a worker is given at once")
    gpus: float = _key(1.0, "GPUs a worker, where there are any; 0.25: four workers on each")


@dataclass
class DistillConfig(Choice):
    name: str = _key("dd", "the distillation method")
    per_class: int = _key(1, "synthetic images of each class")
    network: Choice = _part(Choice, "that the images are made with, and for", name="lenet")
    steps: int = _key(1000, "outer steps, each on a batch of real images")
    batch_size: int = _key(256, "real images a step, over all workers together")
    schedule: Choice = _part(Choice, "how the outer learning rate goes", name="cosine")
    augment: list[str] = _key([], "transforms that training on the images will use, in order")


@dataclass
class EvaluateConfig:
    beside: list[str] = _key([], "folders of other images tables, evaluated beside `input`")
    images: str | None = _key(None, "the images table to test on; not given: the one that `input` was made from")
    networks: list[str] = _key([], "networks to train; not given: the one that `input` was made with")
    repeats: int = _key(5, "trainings of each, from initial weights of their own")
    optimizer: Literal["adam", "sgd"] = _key("adam", "of the common recipe, beside a table's own")
    learning_rate: float = _key(0.001, "of the common recipe")
    momentum: float = _key(0.0, "of the common recipe, with sgd")
    steps: int = _key(500, "of the common recipe, each on all images of the table")
    augment: list[str] = _key([], "training transforms of the common recipe, in order")


@dataclass
class AdversarialConfig:
    generator: Choice = _part(Choice, "the network that makes images", name="dcgan_generator")
    discriminator: Choice = _part(Choice, "the network that tells made images from real ones", name="dcgan_discriminator")
    loss: Choice = _part(Choice, "the adversarial loss; none: only the terms, without a discriminator", name="non_saturating")
    terms: list[dict[str, Any]] = _key([], "what is added to it: [{name: gradient_penalty, weight: 10}]")
    steps: int = _key(2000, "steps of the discriminator, each on a batch")
    batch_size: int = _key(64, "images a step, over all workers together")
    discriminator_steps: int = _key(1, "of them for one step of the generator")
    eager_steps: int | None = _key(None, "the same for the first 25 steps of the generator and every 500th after")
    clip: float | None = _key(None, "weights of the discriminator are kept within +-clip")
    optimizer: Literal["adam", "rmsprop"] = _key("adam", "of both networks")
    learning_rate: float = _key(2e-4, "of the generator")
    discriminator_rate: float | None = _key(None, "of the discriminator; not given: the generator's")
    beta1: float = _key(0.5, "of Adam")
    beta2: float = _key(0.999, "of Adam")
    schedule: Choice = _part(Choice, "how the learning rates go", name="constant")
    average: float = _key(0.999, "decay of the averaged weights that images are made with; 0: the last weights")
    augment: list[str] = _key([], "transforms of the real images, in order")
    differentiable: list[str] = _key([], "DiffAugment, on real and made images alike: colour, translation, cutout")
    precision: Literal["auto", "bf16", "fp32"] = _key("fp32", "auto: bf16 where the hardware has it")


@dataclass
class GenerateConfig(AdversarialConfig):
    learner: Literal["adversarial", "variational"] = _key("adversarial", "a generator against a discriminator, or a decoder")
    images: Literal["full", "subset"] = _key("full", "what it learns from: all training images, or those that `select` chooses")
    latent: int = _key(128, "numbers of noise that an image is made from")
    noise: Literal["normal", "uniform"] = _key("normal", "their distribution: N(0, 1), or uniform in -1..1")
    encoder: Choice = _part(Choice, "of a variational autoencoder; its decoder is the generator", name="infogan_encoder")
    likelihood: Choice = _part(Choice, "of the real image where the decoder made another", name="bernoulli")
    beta: float = _key(1.0, "weight of the divergence in a variational autoencoder's loss")
    samples: int | None = _key(None, "images to make, the same number of each class; not given: as many as it learned from")


@dataclass
class ExtraConfig:
    name: Literal["none", "copies", "generated", "interpolated"] = _key("none", "images to train on beside the given ones")
    amount: float = _key(1.0, "how many, as a multiple of the given ones")
    augment: list[str] = _key([], "transforms of copies, in order, drawn once: [rotate, blur]")


@dataclass
class ColorizeConfig(AdversarialConfig):
    generator: Choice = _part(Choice, "the network that makes colours", name="unet")
    discriminator: Choice = _part(Choice, "the network that tells made colours from real ones", name="patch_discriminator")
    size: int | None = _key(None, "pixels a side that it learns on, cut out of the images; not given: the images whole")
    augment: list[str] = _key(["flip"], "training transforms, in order; crop cuts at random places")
    terms: list[dict[str, Any]] = _key([{"name": "l1", "weight": 100.0}], "what is added to the adversarial loss")
    model: str | None = _key(None, "the folder of a trained colorizer; not given: the one that these keys describe")
    beside: list[str] = _key([], "folders of other trained colorizers, shown beside it")


@dataclass
class MeasureConfig:
    extractor: Literal["classifier", "inception"] = _key("classifier", "whose features images are compared by: FCD, or FID")
    weights: str | None = _key(None, "Inception's, a local file, for extractor=inception")
    samples: int = _key(10_000, "images looked at on each side, at most")
    neighbours: int = _key(5, "of precision, recall, density and coverage")


@dataclass
class ClusterConfig:
    workers: int = _key(1, "processes that train and embed, one a GPU or share of the CPUs; 0: without Ray")
    gpu: bool | None = _key(None, "one GPU a worker; not given: if the cluster has any now (say true if it starts from none)")
    cpus_per_worker: int | None = _key(None, "CPU threads a worker; not given: all CPUs shared out")
    max_failures: int = _key(3, "how often lost workers are replaced before the job fails")
    checkpoint_seconds: float = _key(30.0, "between checkpoints of a training run")


@dataclass
class Config:
    storage: str = _key("runs", "where every stage writes: a folder or s3://bucket/prefix")
    seed: int = _key(0, "makes a run repeatable")
    data: DataConfig = _part(DataConfig)
    autoencoder: AutoencoderConfig = _part(AutoencoderConfig)
    loss: Choice = _part(Choice, "of the autoencoder's reproductions", name="squared_error")
    embed: EmbedConfig = _part(EmbedConfig)
    proxy: ClassifierConfig = _part(ClassifierConfig, steps=1000)
    teacher: ClassifierConfig = _part(ClassifierConfig, steps=4000)
    select: SelectConfig = _part(SelectConfig)
    train: TrainConfig = _part(TrainConfig)
    compare: CompareConfig = _part(CompareConfig)
    sweep: SweepConfig = _part(SweepConfig)
    search: SearchConfig = _part(SearchConfig)
    distill: DistillConfig = _part(DistillConfig)
    input: str | None = _key(None, "`jobs/evaluate.py`: the folder of a set; `jobs/colorize.py`: a picture, or a folder of them")
    evaluate: EvaluateConfig = _part(EvaluateConfig)
    generate: GenerateConfig = _part(GenerateConfig)
    extra: ExtraConfig = _part(ExtraConfig)
    colorize: ColorizeConfig = _part(ColorizeConfig)
    output: str | None = _key(None, "`jobs/colorize.py`: where the coloured pictures go, a file or a folder")
    measure: MeasureConfig = _part(MeasureConfig)
    cluster: ClusterConfig = _part(ClusterConfig)


def choices(config: Config) -> list[tuple[str, registry.Registry, str, dict[str, Any]]]:
    """Every registered function that a configuration names: (key, family, name, options)."""
    found = [
        ("data", registry.DATASETS, config.data),
        ("autoencoder", registry.MODELS, config.autoencoder),
        ("autoencoder.schedule", registry.SCHEDULES, config.autoencoder.schedule),
        ("loss", registry.LOSSES, config.loss),
        ("select", registry.SELECTORS, config.select),
        ("train.sampler", registry.SAMPLERS, config.train.sampler),
        ("distill", registry.DISTILLERS, config.distill),
        ("distill.network", registry.MODELS, config.distill.network),
        ("distill.schedule", registry.SCHEDULES, config.distill.schedule),
        ("search.space", registry.SPACES, config.search.space),
        ("search.strategy", registry.STRATEGIES, config.search.strategy),
        ("search.train.schedule", registry.SCHEDULES, config.search.train.schedule),
    ]
    for key, part in (("proxy", config.proxy), ("teacher", config.teacher), ("train", config.train)):
        found += [(key, registry.MODELS, part), (f"{key}.schedule", registry.SCHEDULES, part.schedule)]
    found.append(("generate.encoder", registry.MODELS, config.generate.encoder))
    found.append(("generate.likelihood", registry.LIKELIHOODS, config.generate.likelihood))
    adversaries: list[tuple[str, AdversarialConfig]] = [("generate", config.generate), ("colorize", config.colorize)]
    for key, part in adversaries:
        found += [(f"{key}.{kind}", registry.MODELS, getattr(part, kind)) for kind in ("generator", "discriminator")]
        found += [(f"{key}.loss", registry.ADVERSARIAL, part.loss), (f"{key}.schedule", registry.SCHEDULES, part.schedule)]
    named = [(key, family, choice.name, choice.options) for key, family, choice in found]
    for key, part in adversaries:
        named += [(f"{key}.terms", registry.TERMS, str(term.get("name")), term.get("options") or {}) for term in part.terms]
        named += [(f"{key}.augment", registry.AUGMENTATIONS, name, {}) for name in part.augment]
        named += [(f"{key}.differentiable", registry.DIFFERENTIABLE, name, {}) for name in part.differentiable]
    named += [("evaluate.networks", registry.MODELS, name, {}) for name in config.evaluate.networks]
    for key in ("distill", "evaluate"):
        named += [(f"{key}.augment", registry.AUGMENTATIONS, name, {}) for name in getattr(config, key).augment]
    named += [("compare.methods", registry.SELECTORS, name, {}) for name in config.compare.methods]
    for key in ("autoencoder", "proxy", "teacher", "train"):
        named += [(f"{key}.augment", registry.AUGMENTATIONS, name, {}) for name in getattr(config, key).augment]
    named += [("extra.augment", registry.AUGMENTATIONS, name, {}) for name in config.extra.augment]
    named += [("search.train.augment", registry.AUGMENTATIONS, name, {}) for name in config.search.train.augment]
    return named


def load(arguments: Sequence[str], presets: Path | None = None) -> Config:
    """The checked configuration of a list of overrides such as `select.budget=4320` or `preset=cifar10`.

    Args:
        arguments: overrides; later ones win, and all win over the presets they name.
        presets: the folder where `preset=NAME` finds `NAME.yaml`, a list of overrides.

    Raises:
        InputError: an unknown key or name, a wrong type or value, each with what would be right.
    """
    config = _checked(OmegaConf.structured(Config), _expanded(arguments, presets))
    sweep = config.sweep
    sweep.rows = {name: _row(f"sweep.rows.{name}", row, presets) for name, row in sweep.rows.items() if row is not None}
    sweep.also = [_row("sweep.also", row, presets) for row in sweep.also]
    return config


def _row(where: str, row: Any, presets: Path | None) -> list[str]:
    if not isinstance(row, list) or not all(isinstance(text, str) and "=" in text for text in row):
        raise InputError(f"{where}: {row}: must be a list of overrides such as [train.split=0, preset=NAME].")
    try:
        return _expanded(row, presets)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _expanded(arguments: Sequence[str], presets: Path | None) -> list[str]:
    """Overrides with every `preset=NAME` replaced by what it lists; all others win over the presets."""
    named = [a.removeprefix("preset=") for a in arguments if a.startswith("preset=")]
    return [o for name in named for o in _preset(name, presets)] + [a for a in arguments if not a.startswith("preset=")]


def variant(config: Config, overrides: Sequence[str]) -> Config:
    """The checked configuration with some more overrides: a trial of a sweep. Raises InputError as `load` does."""
    return _checked(OmegaConf.structured(config), overrides)


def _checked(tree: DictConfig, overrides: Sequence[str]) -> Config:
    for override in overrides:
        tree = _apply(tree, override)
    try:
        config: Config = OmegaConf.to_object(tree)  # type: ignore[assignment]
    except OmegaConfBaseException as error:  # such as a ${key} that is none
        raise InputError(one_line(error)) from None
    for key, family, name, options in choices(config):
        try:
            family.options(name, options)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
        if key.endswith(".augment") and key != "train.augment" and getattr(family.traits(name), "mixes", False):
            raise InputError(f"{key}: {name} mixes images and their labels; only train.augment can have it.")
    for key in ("autoencoder", "proxy", "teacher", "train"):
        kind, name = "autoencoder" if key == "autoencoder" else "classifier", getattr(config, key).name
        if registry.MODELS.traits(name).kind != kind:
            fitting = [model for model in registry.MODELS.names() if registry.MODELS.traits(model).kind == kind]
            raise InputError(f"{key}.name={name}: is not a {kind}; valid: {', '.join(fitting)}.")
    _check_values(config)
    return config


def _preset(name: str, folder: Path | None) -> list[str]:
    path = Path(name) if name.endswith((".yaml", ".yml")) else (folder or Path()) / f"{name}.yaml"
    if not path.is_file():
        raise unknown("preset", name, [p.stem for p in path.parent.glob("*.yaml")])
    try:
        overrides = yaml.safe_load(path.read_bytes()) or []
    except yaml.YAMLError:
        overrides = None
    if not isinstance(overrides, list) or not all(isinstance(o, str) and "=" in o for o in overrides):
        raise InputError(f"preset {path}: must be a YAML list of overrides such as - select.budget=4320")
    return overrides


def _apply(tree: DictConfig, override: str) -> DictConfig:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")) or "\n" in override:
        raise InputError(f"argument {override!r} is not key=value; see help=true.")
    try:
        changed: DictConfig = OmegaConf.unsafe_merge(tree, OmegaConf.from_dotlist([override]))  # type: ignore[assignment]
        if "${" not in value and isinstance(OmegaConf.select(changed, key), str):
            OmegaConf.update(changed, key, value.strip("'\""))  # a word as it was given: YAML reads 2024_01 as a number
        return changed
    except ConfigKeyError as error:
        full_key = str(getattr(error, "full_key", None) or key)
        parent, _, last = full_key.rpartition(".")
        node = OmegaConf.select(tree, parent) if parent else tree
        raise unknown(f"{override}: key", last, [str(k) for k in node] if isinstance(node, DictConfig) else []) from None
    except (OmegaConfBaseException, TypeError) as error:
        node = OmegaConf.select(tree, key)
        if isinstance(node, ListConfig) and not value.startswith("["):
            raise InputError(f"{override}: is a list; right is {key}=[{value}].") from None
        if isinstance(node, DictConfig):
            right = f"{key}.name={value}" if "name" in node else f"{key}.KEY={value}"
            raise InputError(f"{override}: {key} is a group of keys; right is {right}.") from None
        raise InputError(f"{override}: {one_line(error).removeprefix(f'{key}: ')}") from None
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"{override}: the value is not valid YAML ({problem}); right may be '{key}=\"{value}\"'.") from None


_SEARCH_COUNTS = ("children", "known", "seeds", "finalists", "ahead", "bundle")


def _check_values(config: Config) -> None:
    """Refuse values that the types allow but no run can use."""
    budget = config.select.budget
    rules = [
        (
            budget > 0 and (isinstance(budget, int) or budget <= 1),
            "select.budget",
            "a count of at least 1 or a share in (0, 1]",
        ),
        (config.data.image_size >= 1, "data.image_size", "at least 1 pixel"),
        (config.data.channels in (None, 1, 3), "data.channels", "1 or 3"),
        (0 < config.data.test_fraction < 1, "data.test_fraction", "between 0 and 1"),
        (config.data.limit is None or config.data.limit >= 1, "data.limit", "at least 1"),
        (config.cluster.workers >= 0, "cluster.workers", "0 (without Ray) or more"),
        (config.compare.seeds >= 1, "compare.seeds", "at least 1"),
        (re.fullmatch(r"[\w.-]+", config.sweep.title), "sweep.title", "a word of letters, digits, _, - and ."),
        (config.sweep.seeds >= 1, "sweep.seeds", "at least 1"),
        (config.sweep.samples >= 1, "sweep.samples", "at least 1"),
        (0 < config.sweep.grace < 1, "sweep.grace", "a share in (0, 1)"),
        (config.sweep.reduction >= 2, "sweep.reduction", "at least 2"),
        (0 < config.sweep.gpus <= 1, "sweep.gpus", "in (0, 1]"),
        *((getattr(config.search, key) >= 1, f"search.{key}", "at least 1") for key in _SEARCH_COUNTS),
        (0 < config.search.validation < 1, "search.validation", "between 0 and 1"),
        (0 < config.search.gpus <= 1, "search.gpus", "in (0, 1]"),
        (config.distill.per_class >= 1, "distill.per_class", "at least 1"),
        (config.distill.steps >= 1, "distill.steps", "at least 1"),
        (
            config.distill.batch_size >= max(1, config.cluster.workers),
            "distill.batch_size",
            "at least 1 image for every worker",
        ),
        (config.evaluate.repeats >= 1, "evaluate.repeats", "at least 1"),
        (config.evaluate.steps >= 1, "evaluate.steps", "at least 1"),
        (0 < config.evaluate.learning_rate < math.inf, "evaluate.learning_rate", "above 0"),
        (0 <= config.evaluate.momentum < 1, "evaluate.momentum", "in [0, 1)"),
        (0 <= config.train.split <= 1, "train.split", "a share in [0, 1]"),
        (all(0 < s <= 1 for s in config.compare.splits), "compare.splits", "shares in (0, 1]"),
        *(
            (
                getattr(config.train, one) is None or getattr(config.train, other) is None,
                f"train.{one}",
                f"not given with train.{other}",
            )
            for one, other in itertools.combinations(("epochs", "passes", "seconds"), 2)
        ),
        *((given is None or given > 0, f"train.{key}", "above 0") for key in BUDGETS[1:] for given in [getattr(config.train, key)]),
        (config.extra.amount > 0, "extra.amount", "above 0"),
        (not config.extra.augment or config.extra.name == "copies", "extra.augment", "given with extra.name=copies alone"),
        (
            config.extra.name == "none" or not config.train.validation,
            "train.validation",
            "0 with extra images, which are made from those held out too",
        ),
        (0 <= config.train.validation < 1, "train.validation", "in [0, 1)"),
        (config.train.validate_every >= 0, "train.validate_every", "0 or more"),
        (
            not config.train.overlap or (not config.train.phases and config.train.sampler.name == "shuffle"),
            "train.overlap",
            "without train.phases (where it is data: overlap) and without a train.sampler",
        ),
        (
            not config.train.validation
            or not (config.train.overlap or any(phase.get("data") == "overlap" for phase in config.train.phases)),
            "train.validation",
            "0 where phases overlap: what to hold out is known only once all images are there",
        ),
        (config.select.pca is None or config.select.pca >= 1, "select.pca", "at least 1 component"),
        (config.select.shard_rows >= 1, "select.shard_rows", "at least 1"),
        (config.select.views >= 1, "select.views", "at least 1"),
        (config.embed.size >= 1, "embed.size", "at least 1 pixel"),
        (config.embed.source != "network" or config.embed.weights, "embed.weights", "given with embed.source=network"),
        (config.embed.source != "table" or config.embed.table, "embed.table", "given with embed.source=table"),
        (config.embed.batch_size >= 1, "embed.batch_size", "at least 1"),
        (config.cluster.cpus_per_worker is None or config.cluster.cpus_per_worker >= 1, "cluster.cpus_per_worker", "at least 1"),
        (config.cluster.max_failures >= 0, "cluster.max_failures", "0 or more"),
        (config.cluster.checkpoint_seconds >= 0, "cluster.checkpoint_seconds", "0 or more"),
        (0 <= config.seed < 2**32, "seed", "in [0, 2^32)"),
    ]
    classifiers = {"proxy": config.proxy, "teacher": config.teacher, "train": config.train}
    for part, section in classifiers.items():
        rules += [
            (0 <= section.average < 1, f"{part}.average", "in [0, 1)"),
            (0 <= section.weight_decay < math.inf, f"{part}.weight_decay", "0 or more"),
        ]
    for part, section, least in (("generate", config.generate, 2), ("colorize", config.colorize, 1)):  # batches are normalised
        rules += [
            (section.steps >= 1, f"{part}.steps", "at least 1"),
            (
                section.batch_size >= max(least, config.cluster.workers),
                f"{part}.batch_size",
                f"at least {least}, 1 for every worker",
            ),
            (section.discriminator_steps >= 1, f"{part}.discriminator_steps", "at least 1"),
            (section.eager_steps is None or section.eager_steps >= 1, f"{part}.eager_steps", "at least 1"),
            (section.clip is None or section.clip > 0, f"{part}.clip", "above 0"),
            (0 < section.learning_rate < math.inf, f"{part}.learning_rate", "above 0"),
            (section.discriminator_rate is None or section.discriminator_rate > 0, f"{part}.discriminator_rate", "above 0"),
            *((0 <= getattr(section, key) < 1, f"{part}.{key}", "in [0, 1)") for key in ("beta1", "beta2", "average")),
        ]
    rules += [
        (config.generate.latent >= 1, "generate.latent", "at least 1"),
        (config.colorize.size is None or config.colorize.size >= 1, "colorize.size", "at least 1 pixel"),
        (config.generate.samples is None or config.generate.samples >= 1, "generate.samples", "at least 1"),
        (config.generate.beta >= 0, "generate.beta", "0 or more"),
        (config.measure.neighbours >= 1, "measure.neighbours", "at least 1"),
        (config.measure.samples > config.measure.neighbours, "measure.samples", "more than measure.neighbours"),
        (
            config.measure.extractor != "inception" or config.measure.weights,
            "measure.weights",
            "given with measure.extractor=inception",
        ),
    ]
    for part, section in {"autoencoder": config.autoencoder, "search.train": config.search.train, **classifiers}.items():
        rules += [
            (section.steps >= 1, f"{part}.steps", "at least 1"),
            (section.batch_size >= max(1, config.cluster.workers), f"{part}.batch_size", "at least 1 image for every worker"),
            (0 < section.learning_rate < math.inf, f"{part}.learning_rate", "above 0"),
            (0 <= section.momentum < 1, f"{part}.momentum", "in [0, 1)"),
        ]
    for fine, key, right in rules:
        if not fine:
            given = OmegaConf.select(OmegaConf.structured(config), key)
            raise InputError(f"{key}={given}: must be {right}.")
    for phase in config.train.phases:
        _check_phase(phase)


DATA = ("subset", "full", "overlap")  # the last: the subset, and of the full set what is read meanwhile
BUDGETS = ("steps", "epochs", "passes", "seconds")


def _check_phase(phase: dict[str, Any]) -> None:
    about, valid = f"train.phases: {phase}", ["data", *BUDGETS, "sampler"]
    for key in phase:
        if key not in valid:
            raise unknown(f"{about}: key", str(key), valid)
    if "data" in phase and phase["data"] not in DATA:
        raise unknown(f"{about}: data", str(phase["data"]), DATA)
    budgets = [k for k in BUDGETS if k in phase]
    amount = phase[budgets[0]] if len(budgets) == 1 else None
    fine = isinstance(amount, int | float) and not isinstance(amount, bool) and 0 < amount < math.inf
    if "data" not in phase or not fine or (budgets == ["steps"] and not isinstance(amount, int)):
        raise InputError(f"{about}: needs data ({', '.join(DATA)}) and one of {', '.join(BUDGETS)} above 0.")
    if "sampler" in phase:
        _check_sampler(about, phase)


def _check_sampler(about: str, phase: dict[str, Any]) -> None:
    chosen = phase["sampler"]
    if not isinstance(chosen, dict) or not isinstance(chosen.get("name"), str):
        raise InputError(f"{about}: sampler: right is {{name: shuffle}}, perhaps with options: {{...}}.")
    for key in chosen:
        if key not in ("name", "options"):
            raise unknown(f"{about}: sampler: key", str(key), ["name", "options"])
    if phase["data"] == "overlap":
        raise InputError(f"{about}: sampler: an overlap shuffles what is there; give the sampler to a phase on full data.")
    try:
        registry.SAMPLERS.options(chosen["name"], chosen.get("options"))
    except InputError as error:
        raise InputError(f"{about}: sampler: {error}") from None


def plain(config: Any) -> Any:
    """A configuration (or a part of it) as plain dictionaries, lists and values."""
    return dataclasses.asdict(config)


def as_yaml(config: Any) -> str:
    return yaml.safe_dump(plain(config) if dataclasses.is_dataclass(config) else config, sort_keys=False)


def describe() -> str:
    """What `help=true` prints: every key with its default and meaning, every registered name with its options."""
    lines = ["keys (key=default  meaning):"]
    lines += [f"  {key + '=' + value:<44} {says}".rstrip() for key, value, says in _describe_keys(Config(), "", "")]
    families = [registry.DATASETS, registry.SELECTORS, registry.MODELS, registry.LOSSES, registry.SPACES, registry.STRATEGIES]
    families += [registry.ADVERSARIAL, registry.TERMS, registry.DIFFERENTIABLE, registry.LIKELIHOODS]
    for family in [*families, registry.DISTILLERS, registry.AUGMENTATIONS, registry.SCHEDULES, registry.SAMPLERS]:
        lines += ["", f"{family.noun}{'es' if family.noun.endswith('s') else 's'} (name  options):"]
        for name in family.names():
            lines.append(f"  {name:<20} {family.summary(name)}")
            lines += [f"      options.{key}={value}" for key, value in family.defaults(name).items()]
    return "\n".join(lines)


def _describe_keys(part: Any, prefix: str, about: str) -> list[tuple[str, str, str]]:
    rows = []
    for item in dataclasses.fields(part):
        value, says = getattr(part, item.name), item.metadata.get("says", "")
        if dataclasses.is_dataclass(value):
            rows += _describe_keys(value, f"{prefix}{item.name}.", says)
        else:
            shown = "" if value is None else str(value).replace("'", "").replace(" ", "")
            rows.append(
                (prefix + item.name, shown, says or (about if item.name == "name" else "its options, as options.KEY=VALUE"))
            )
    return rows
