"""The whole configuration: its sections, and the keys that belong to none."""

from dataclasses import dataclass
from typing import Literal

from dsopt import registry
from dsopt.config.audit import AuditConfig
from dsopt.config.data import DataConfig, EmbedConfig, ExtraConfig, SelectConfig
from dsopt.config.keys import Choice, above, at_least, choice, interval, key, part
from dsopt.config.studies import AdviseConfig, CompareConfig, SearchConfig, SweepConfig
from dsopt.config.synthesis import ColorizeConfig, DistillConfig, EvaluateConfig, GenerateConfig, MeasureConfig
from dsopt.config.training import AutoencoderConfig, ClassifierConfig, ProbeConfig, TrainConfig


@dataclass
class ClusterConfig:
    workers: int = key(1, "processes that train and embed, each with a GPU or a share of the CPUs; 0: without Ray", at_least(0))
    gpu: bool | None = key(
        None, "one GPU per worker; not given: if the cluster has any now; true: also wait for those that an autoscaler adds"
    )
    cpus_per_worker: int | None = key(None, "CPU threads per worker; not given: an equal share of all CPUs", at_least(1))
    max_failures: int = key(3, "how many workers a run may lose without a new checkpoint before it fails", at_least(0))
    timeout_minutes: float = key(30.0, "after so many minutes of waiting for another worker a training step has failed", above(0))
    checkpoint_seconds: float = key(30.0, "seconds between checkpoints of a training run", at_least(0))


@dataclass
class Config:
    storage: str = key("runs", "where all results go: a folder or s3://bucket/prefix")
    seed: int = key(0, "random seed: the same seed gives the same results", interval(f"[0, {2**32})"))
    deterministic: bool = key(False, "train by deterministic operations alone, also on GPUs, some of which are slower then")
    data: DataConfig = part(DataConfig, "the data set")
    autoencoder: AutoencoderConfig = part(AutoencoderConfig, "the autoencoder that computes embeddings")
    loss: Choice = choice(registry.LOSSES, "squared_error", "reconstruction loss of the autoencoder")
    embed: EmbedConfig = part(EmbedConfig, "embeddings of the training images")
    proxy: ClassifierConfig = part(ClassifierConfig, "the small classifier whose training scores the images", steps=1000)
    teacher: ClassifierConfig = part(ClassifierConfig, "the classifier that gives soft labels and guides generators", steps=4000)
    probe: ProbeConfig = part(ProbeConfig, "a linear classifier of the embeddings: proxy.name=probe, teacher.name=probe")
    audit: AuditConfig = part(AuditConfig, "what may be wrong with the data")
    select: SelectConfig = part(SelectConfig, "which images to keep")
    train: TrainConfig = part(TrainConfig, "training on the subset and on the full set")
    compare: CompareConfig = part(CompareConfig, "what the main job compares")
    advise: AdviseConfig = part(AdviseConfig, "how many images are enough, from small pilot trainings")
    sweep: SweepConfig = part(SweepConfig, "a grid of settings, or a search over them")
    search: SearchConfig = part(SearchConfig, "search for a network architecture")
    distill: DistillConfig = part(DistillConfig, "a few synthetic images instead of a data set")
    reference: str | None = key(
        None, "a paper's table or figure, whose numbers stand beside the results: a name of dsopt/papers; help=references"
    )
    input: str | None = key(
        None,
        "`dsopt evaluate`: folder of an images table; `dsopt colorize`: an image, or a folder; "
        "`dsopt export`: a subset or a trained classifier",
    )
    evaluate: EvaluateConfig = part(EvaluateConfig, "networks trained on a distilled set")
    generate: GenerateConfig = part(GenerateConfig, "a generator of images")
    extra: ExtraConfig = part(ExtraConfig, "images to train on beside the given ones")
    colorize: ColorizeConfig = part(ColorizeConfig, "a network that colors grayscale images")
    output: str | None = key(None, "`dsopt colorize`: where the colored images go; `dsopt export`: a new folder")
    format: Literal["folder", "webdataset", "parquet", "fiftyone", "onnx", "safetensors"] = key(
        "folder",
        "`dsopt export`: a subset as image files, tar shards, Parquet files or a data set for FiftyOne; a classifier as a file",
    )
    track: str = key("none", "none, tensorboard, mlflow or wandb: where training runs are logged besides; it changes no result")
    track_to: str | None = key(
        None,
        "tensorboard: a folder or s3://, by default in the storage; mlflow: the address of a server or database; "
        "wandb: PROJECT or TEAM/PROJECT",
    )
    measure: MeasureConfig = part(MeasureConfig, "how generated images are measured")
    cluster: ClusterConfig = part(ClusterConfig, "the Ray cluster")
