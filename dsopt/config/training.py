"""Keys of training: the autoencoder and the classifiers."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from dsopt import registry
from dsopt.config.keys import Choice, above, at_least, choice, interval, key

Precision = Literal["auto", "bf16", "fp32"]
COMPILED = "on: compiled by torch, on GPUs into CUDA graphs; auto: measured in the first steps, and done where faster"
SYNC_BATCH_NORM = "batch normalization over the images of all workers"


@dataclass
class OptimizerConfig:
    steps: int = key(1000, "optimizer steps", at_least(1))
    batch_size: int = key(128, "images per step, over all workers together", at_least(1))
    learning_rate: float = key(0.1, "learning rate of SGD, before the schedule", above(0))
    momentum: float = key(0.9, "momentum of SGD; 0 in the conference version of the selection paper", interval("[0, 1)"))
    schedule: Choice = choice(registry.SCHEDULES, "cosine", "learning-rate schedule")
    augment: list[str] = key([], "training transforms, in order", family=registry.AUGMENTATIONS, options=True)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = key(
        "auto", "auto: bf16 where the hardware supports it; else on GPUs fp16, if a classifier is trained; else fp32"
    )


@dataclass
class DividedConfig(OptimizerConfig):
    """Of what is trained on several workers."""

    sync_batch_norm: bool = key(False, SYNC_BATCH_NORM)


@dataclass
class AutoencoderConfig(DividedConfig, Choice):
    name: str = key("autoencoder", "the network whose code is the embedding", family=registry.MODELS, kind="autoencoder")
    augment: list[str] = key(["crop"], "training transforms, in order", family=registry.AUGMENTATIONS, options=True)


@dataclass
class ClassifierConfig(DividedConfig, Choice):
    name: str = key(
        "classifier24",
        "the network: a registered one, timm:NAME, torchvision:NAME, or your own module:function",
        family=registry.MODELS,
        kind="classifier",
    )
    size: int | None = key(
        None, "pixels a side that a library's or your own network takes; not given: data.image_size", at_least(1, "pixel")
    )
    weights: str | None = key(
        None, "what a library's or your own network starts from: a file by any URI, or library (its own); not given: at random"
    )
    augment: list[str] = key(
        ["crop", "flip", "brightness", "contrast"],
        "training transforms, in order; options in parentheses: 'shift(most=2)'",
        family=registry.AUGMENTATIONS,
        options=True,
    )
    standardise: Literal["deviation", "variance", "channels", "none"] = key(
        "deviation",
        "divide each image by its standard deviation, or by its variance (as the selection paper's text says); channels: by the "
        "mean and deviation of each channel that the network's library uses; none: pixels in 0..1",
    )
    optimizer: Literal["sgd", "nesterov", "adam", "adamw", "muon"] = key(
        "sgd", "muon: orthogonal steps for matrices, AdamW for the rest"
    )
    weight_decay: float = key(0.004, "weight decay", at_least(0))
    decay: Literal["dense", "weights"] = key(
        "dense", "what weight_decay is for: fully connected layers only, or all weights but norms and biases"
    )
    label_smoothing: float = key(0.0, "share of a label that goes to all classes evenly", interval("[0, 1)"))
    average: float = key(0.999, "decay of the averaged weights, which are tested; 0: the last weights", interval("[0, 1)"))
    compile: Literal["off", "on", "auto"] = key("off", f"passes: {COMPILED}")
    learning_rate: float = key(0.05, "learning rate of SGD; the selection paper has 0.1 for batches of 1,024", above(0))


@dataclass
class ProbeConfig:
    folds: int = key(5, "every image is judged by a classifier that was trained on the other folds", at_least(2))
    epochs: int = key(20, "passes over the embeddings", at_least(1))
    batch_size: int = key(512, "embeddings a step; at most a tenth of all", at_least(1))
    learning_rate: float = key(
        0.001, "learning rate of AdamW for embeddings of 1,280 numbers; smaller ones get a larger one in proportion", above(0)
    )
    weight_decay: float = key(0.01, "weight decay", at_least(0))


@dataclass
class TrainConfig(ClassifierConfig):
    learner: Literal["classifier", "autoencoder"] = key("classifier", "what `dsopt train` trains")
    batch_size_per_worker: int | None = key(
        None, "images per step of each worker, instead of train.batch_size: the batch grows with cluster.workers", at_least(1)
    )
    rate_rule: Literal["fixed", "linear"] = key(
        "fixed", "linear: with train.batch_size_per_worker, the learning rate times the number of workers too"
    )
    sampler: Choice = choice(registry.SAMPLERS, "shuffle", "how batches are drawn from the full training set")
    progressive: float = key(
        1.0,
        "share of a picture's side that training begins with; it grows evenly, to whole pictures after 0.8 of the run",
        interval("(0, 1]"),
    )
    overlap: bool = key(False, "load the full set while training on the subset, and move over to it as its images arrive")
    overlap_easiest: float = key(
        1.0,
        "until all images have arrived, train on this share of each class's arrived ones, easiest by a few pixels, and the subset",
        interval("(0, 1]"),
    )
    streamed: bool | None = key(
        None, "keep decoded images in a file on local disk instead of in memory; not given: only if they do not fit in memory"
    )
    decoded: bool | None = key(
        None,
        "false: keep images encoded, and decode every batch ahead of its step; not given: only if decoded ones fit neither in "
        "memory nor on disk",
    )
    validation: float = key(0.0, "share of the training images to evaluate on, instead of the test images", interval("[0, 1)"))
    validate_on: Literal["held_out", "unselected"] = key(
        "held_out",
        "unselected: hold out of the images that the subset leaves out, so that it stays whole; for training on a subset alone",
    )
    validate_every: int = key(0, "steps between evaluations on the held-out images; 0: only after the last step", at_least(0))
    validate_passes: float = key(0.0, "the same in passes over the images trained on, instead of steps", at_least(0))
    keep: Literal["last", "best"] = key(
        "last",
        "best: test the weights of the best accuracy on held-out images, as some papers do; results are then better than those of "
        "the last step, which all else is judged by",
    )
    test_every: int = key(0, "steps between tests on the test images, for curves alone; 0: only after the last step", at_least(0))
    epochs: float | None = key(None, "budget in epochs of the full training set, instead of train.steps", above(0))
    passes: float | None = key(None, "budget in passes over the images trained on, instead of train.steps", above(0))
    seconds: float | None = key(None, "budget in seconds of training, instead of train.steps", above(0))
    split: float = key(0.5, "share of the budget spent on the subset; the rest fine-tunes on the full set", interval("[0, 1]"))
    phases: list[dict[str, Any]] = key(
        [],
        "phases in full, instead of a split: [{data: subset, steps: 500}, {data: full, steps: 90, sampler: {name: rs2}}]; the last "
        "one may have until_seconds, of the whole run, as its budget",
        example="{data: subset, steps: 900}",
    )
    subset: str | None = key(None, "`dsopt train`: folder of the subset to train on; not given: the one that `select` describes")

    def over(self, workers: int) -> "TrainConfig":
        """These settings for a run over so many workers: with the batch of all of them, and the learning rate for it.

        The linear rule is Goyal et al.'s (2017, arXiv:1706.02677, section 2.1), who let the rate rise over the first epochs, as the
        schedules with a warmup do.
        """
        each, rate = self.batch_size_per_worker, self.learning_rate
        return replace(
            self,
            batch_size=self.batch_size if each is None else each * workers,
            learning_rate=rate * workers if each is not None and self.rate_rule == "linear" else rate,
            batch_size_per_worker=None,
            rate_rule="fixed",
            sync_batch_norm=self.sync_batch_norm and workers > 1,
        )
