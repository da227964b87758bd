"""Keys of what makes images: distillation, generation, colorization, and what these are measured by."""

from dataclasses import dataclass
from typing import Any, Literal

from dsopt import registry
from dsopt.config.keys import Choice, above, at_least, choice, interval, key
from dsopt.config.training import COMPILED, SYNC_BATCH_NORM, Precision

TERM = "{name: gradient_penalty, weight: 10}"


@dataclass
class DistillConfig(Choice):
    name: str = key("dd", "the distillation method", family=registry.DISTILLERS)
    per_class: int = key(1, "synthetic images per class", at_least(1))
    network: Choice = choice(registry.MODELS, "lenet", "the network that the images are made with, and for", kind="classifier")
    steps: int = key(1000, "outer optimizer steps, each on a batch of real images", at_least(1))
    batch_size: int = key(256, "real images per step, over all workers together", at_least(1))
    normalise: Choice = choice(registry.NORMALISATIONS, "channels", "how real images are normalized")
    stored: Choice = choice(registry.STORED, "pixels", "how the synthetic images are parameterized: what is learned and stored")
    schedule: Choice = choice(registry.SCHEDULES, "cosine", "schedule of the outer learning rate")
    augment: list[str] = key(
        [], "transforms of the training on the synthetic images, in order", family=registry.AUGMENTATIONS, options=True
    )
    validation: float = key(0.0, "share of the training images to evaluate on, instead of the test images", interval("[0, 1)"))
    compile: Literal["off", "on", "auto"] = key("off", f"inner training and its derivatives: {COMPILED}")


@dataclass
class EvaluateConfig:
    beside: list[str] = key([], "folders of other images tables, evaluated beside `input`")
    images: str | None = key(None, "folder of the images table to test on; not given: the one that `input` was made from")
    networks: list[str] = key(
        [], "networks to train; not given: the one that `input` was made with", family=registry.MODELS, kind="classifier"
    )
    repeats: int = key(5, "training runs per network, each from new initial weights", at_least(1))
    optimizer: Literal["adam", "sgd"] = key("adam", "optimizer of the common recipe, used beside a table's own recipe")
    learning_rate: float = key(0.001, "learning rate of the common recipe", above(0))
    momentum: float = key(0.0, "momentum of the common recipe, with optimizer=sgd", interval("[0, 1)"))
    steps: int = key(500, "optimizer steps of the common recipe, each on all images of the table", at_least(1))
    augment: list[str] = key([], "training transforms of the common recipe, in order", family=registry.AUGMENTATIONS, options=True)
    ranking: bool = key(False, "also compute DD-Ranking scores, against random real images and against all of them")
    real_epochs: float = key(30.0, "ranking: epochs of training on all real images; at least evaluate.steps steps", at_least(0))


@dataclass
class AdversarialConfig:
    generator: Choice = choice(registry.MODELS, "dcgan_generator", "the network that generates images", kind="generator")
    discriminator: Choice = choice(
        registry.MODELS, "dcgan_discriminator", "the network that tells generated images from real ones", kind="discriminator"
    )
    loss: Choice = choice(
        registry.ADVERSARIAL, "non_saturating", "the adversarial loss; none: only the terms, without a discriminator"
    )
    terms: list[dict[str, Any]] = key(
        [], f"further loss terms: [{TERM}]; some take a side: discriminator, generator or both", family=registry.TERMS, example=TERM
    )
    steps: int = key(2000, "discriminator steps, each on a batch", at_least(1))
    batch_size: int = key(64, "images per step, over all workers together", at_least(1))
    discriminator_steps: int = key(1, "discriminator steps per generator step", at_least(1))
    eager_steps: int | None = key(None, "the same, for the first 25 generator steps and every 500th after (as WGAN)", at_least(1))
    clip: float | None = key(None, "clip the discriminator's weights to [-clip, clip]", above(0))
    optimizer: Literal["adam", "rmsprop"] = key("adam", "optimizer of both networks")
    learning_rate: float = key(2e-4, "learning rate of the generator", above(0))
    discriminator_rate: float | None = key(
        None, "learning rate of the discriminator; 0: it is never updated; not given: the generator's", at_least(0)
    )
    beta1: float = key(0.5, "Adam's beta1", interval("[0, 1)"))
    beta2: float = key(0.999, "Adam's beta2", interval("[0, 1)"))
    schedule: Choice = choice(registry.SCHEDULES, "constant", "learning-rate schedule of both networks")
    average: float = key(
        0.999, "decay of the moving average of the generator's weights, which generates; 0: the last weights", interval("[0, 1)")
    )
    augment: list[str] = key([], "transforms of the real images, in order", family=registry.AUGMENTATIONS, options=True)
    differentiable: list[str] = key(
        [], "DiffAugment, on real and generated images alike: color, translation, cutout", family=registry.DIFFERENTIABLE
    )
    precision: Precision = key("fp32", "auto: bf16 if the hardware has it")
    sync_batch_norm: bool = key(False, SYNC_BATCH_NORM)


@dataclass
class GenerateConfig(AdversarialConfig):
    batch_size: int = key(64, "images per step, over all workers together", at_least(2))  # the networks normalize over the batch
    epochs: float | None = key(None, "budget in epochs of the images it is trained on, instead of generate.steps", above(0))
    learner: Literal["adversarial", "variational"] = key("adversarial", "adversarial: a GAN; variational: a VAE")
    images: Literal["full", "subset"] = key("full", "what it is trained on: all training images, or those that `select` chooses")
    latent: int = key(128, "latent dimension", at_least(1))
    noise: Literal["normal", "uniform"] = key("normal", "latent distribution: N(0, 1), or uniform in [-1, 1]")
    encoder: Choice = choice(
        registry.MODELS, "infogan_encoder", "learner=variational: the encoder; the decoder is the generator", kind="encoder"
    )
    likelihood: Choice = choice(
        registry.LIKELIHOODS, "bernoulli", "learner=variational: likelihood of an image given its reconstruction"
    )
    beta: float = key(1.0, "learner=variational: weight of the KL divergence", at_least(0))
    samples: int | None = key(
        None, "images to generate, balanced over classes; not given: as many as it was trained on", at_least(1)
    )


@dataclass
class ColorizeConfig(AdversarialConfig):
    generator: Choice = choice(registry.MODELS, "unet", "the network that predicts colors", kind="colorizer")
    discriminator: Choice = choice(
        registry.MODELS, "patch_discriminator", "the network that tells predicted colors from real ones", kind="discriminator"
    )
    size: int | None = key(None, "size of training crops in pixels; not given: whole images", at_least(1, "pixel"))
    augment: list[str] = key(
        ["flip"], "training transforms, in order; crop cuts at random places", family=registry.AUGMENTATIONS, options=True
    )
    terms: list[dict[str, Any]] = key(
        [{"name": "l1", "weight": 100.0}],
        "further loss terms, added to the adversarial loss",
        family=registry.TERMS,
        example="{name: l1, weight: 100}",
    )
    model: str | None = key(None, "folder of a trained colorizer; not given: the one that these keys describe")
    beside: list[str] = key([], "folders of other trained colorizers to compare with")


@dataclass
class MeasureConfig:
    extractor: Literal["classifier", "inception"] = key(
        "classifier", "features of the Fréchet distance: a classifier's (FCD), or Inception's (FID)"
    )
    weights: str | None = key(None, "extractor=inception: local file with Inception's weights")
    against: Literal["test", "learned"] = key(
        "test", "images that generated ones are compared with: test images, or those that were learned from (as some papers)"
    )
    samples: int = key(10_000, "images compared on each side, at most")
    neighbours: int = key(5, "nearest neighbors of precision, recall, density and coverage", at_least(1))
    extra: bool = key(False, "in a sweep of classifiers: also measure the extra images of each trial; of distilled sets: these")
    cas: bool = key(False, "classification accuracy score: also train `train` on generated images alone, and on real ones")
