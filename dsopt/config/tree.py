"""The tree of keys: their types, defaults and meanings."""

from dataclasses import dataclass, field
from typing import Any, Literal


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
    augment: list[str] = _key(
        ["crop", "flip", "brightness", "contrast"], "training transforms, in order; with options: shift(most=2)"
    )
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
    batch_size: int = _key(256, "images at once on a device; on a CPU its threads share them out")
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
    soft_share: float = _key(1.0, "how much of a soft label are these probabilities; the rest is the given label")


@dataclass
class TrainConfig(ClassifierConfig):
    learner: Literal["classifier", "autoencoder"] = _key("classifier", "what `jobs/train.py` trains")
    sampler: Choice = _part(Choice, "how the full data is fed", name="shuffle")
    overlap: bool = _key(False, "read the full set while the subset is trained on, and go over to it as it comes")
    streamed: bool | None = _key(
        None, "keep decoded images in a file on the workers' disk, not in memory; not given: all jobs do if they do not fit"
    )
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
    of: Literal["train", "generate", "colorize", "distill"] = _key(
        "train", "what a trial is: a classifier, a generator, a colorizer, a distilled set"
    )
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
    bundle: int = _key(8, "children that a worker is given at once, fewer where others would have none")
    gpus: float = _key(1.0, "GPUs a worker, where there are any; 0.25: four workers on each")


@dataclass
class DistillConfig(Choice):
    name: str = _key("dd", "the distillation method")
    per_class: int = _key(1, "synthetic images of each class")
    network: Choice = _part(Choice, "that the images are made with, and for", name="lenet")
    steps: int = _key(1000, "outer steps, each on a batch of real images")
    batch_size: int = _key(256, "real images a step, over all workers together")
    normalise: Choice = _part(Choice, "what is done to real images first", name="channels")
    stored: Choice = _part(Choice, "what the images are made from, and learned as", name="pixels")
    schedule: Choice = _part(Choice, "how the outer learning rate goes", name="cosine")
    augment: list[str] = _key([], "transforms that training on the images will use, in order")
    validation: float = _key(0.0, "share of the training images held out to judge by, instead of the test images")


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
    ranking: bool = _key(False, "also the scores of DD-Ranking, against random real images and against all of them")
    real_epochs: float = _key(30.0, "of ranking: the training on all real images, of at least `evaluate.steps` steps")


@dataclass
class AdversarialConfig:
    generator: Choice = _part(Choice, "the network that makes images", name="dcgan_generator")
    discriminator: Choice = _part(Choice, "the network that tells made images from real ones", name="dcgan_discriminator")
    loss: Choice = _part(Choice, "the adversarial loss; none: only the terms, without a discriminator", name="non_saturating")
    terms: list[dict[str, Any]] = _key(
        [], "what is added to it: [{name: gradient_penalty, weight: 10}]; some take a side: discriminator, generator or both"
    )
    steps: int = _key(2000, "steps of the discriminator, each on a batch")
    batch_size: int = _key(64, "images a step, over all workers together")
    discriminator_steps: int = _key(1, "of them for one step of the generator")
    eager_steps: int | None = _key(None, "the same for the first 25 steps of the generator and every 500th after")
    clip: float | None = _key(None, "weights of the discriminator are kept within +-clip")
    optimizer: Literal["adam", "rmsprop"] = _key("adam", "of both networks")
    learning_rate: float = _key(2e-4, "of the generator")
    discriminator_rate: float | None = _key(None, "of the discriminator; 0: it never learns; not given: the generator's")
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
    extra: bool = _key(False, "in a sweep of classifiers, also measure the extra images that each of them trains on")
    cas: bool = _key(False, "also train `train` on nothing but the made images, for its accuracy, and on all real ones beside it")


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
