"""Keys of the data: what is read, embedded, selected and added."""

from dataclasses import dataclass
from typing import Literal

from dsopt import registry
from dsopt.config.keys import SHARE, Bound, Choice, above, at_least, each, interval, key, matching, one_of

BYTE = r"(25[0-5]|2[0-4]\d|1?\d?\d)"
COLOR = matching(rf"white|black|{BYTE},{BYTE},{BYTE}", "white, black or R,G,B with values of 0 to 255")


ENCODER = matching(r"autoencoder|filters|proxy|[\w.]+:.+", "autoencoder, filters, proxy, LIBRARY:NAME or module:function")


@dataclass
class DataConfig(Choice):
    name: str = key("digits", "the data set", family=registry.DATASETS)
    root: str | None = key(None, "a folder, file or glob, local or s3://; not given: ~/.cache/dsopt, downloaded if needed")
    image_size: int = key(32, "the short side, in pixels, of the copies to work on, made once, at ingest", at_least(1, "pixel"))
    fit: Literal["auto", "square", "whole"] = key(
        "auto", "square: the middle of a picture; whole: all of it; auto: whole for an image_size above 64"
    )
    store: Literal["auto", "jpeg", "png"] = key("auto", "format of the copies; auto: JPEG for an image_size above 64, else PNG")
    background: str = key("white", "the color below transparent pictures: white, black or R,G,B", COLOR)
    channels: int | None = key(None, "1: grayscale, 3: color; not given: as in the data", one_of(1, 3))
    test_fraction: float = key(0.2, "share of the images held out for testing, if the data has no test split", interval("(0, 1)"))
    on_error: Literal["skip", "fail"] = key("skip", "skip: leave broken images out and list them; fail: stop at the first one")
    limit: int | None = key(None, "read only the first rows of each split, for a quick look", at_least(1))
    check: bool = key(True, "off: neither warn of nor refuse data that look wrong, such as one class only")


@dataclass
class EmbedConfig:
    encoder: list[str] = key(
        ["autoencoder"],
        "what embeds, one or several joined: autoencoder, filters (fixed ones, in seconds), proxy, timm:NAME, torchvision:NAME, "
        "transformers:FOLDER_OR_NAME, open_clip:NAME[:WEIGHTS], or your own module:function",
        each(ENCODER),
    )
    weights: list[str] = key(
        [],
        "of each encoder of a library a file of weights, safetensors or of torch, by any URI, or library, its own, as if not given",
    )
    size: int | None = key(None, "pixels a side of a library's encoder; not given: as it was trained", at_least(1, "pixel"))
    source: Literal["encoder", "table"] = key("encoder", "table: your own embeddings of embed.table instead of an encoder's")
    table: str | None = key(None, "source=table: Parquet with columns `id` or `key`, and `embedding`; a file, folder or glob")
    extends: str | None = key(
        None, "the folder of earlier embeddings (DIR/embed/...) of a data set that has grown: only new images are embedded"
    )
    dtype: Literal["fp32", "fp16"] = key("fp32", "how embeddings are stored; fp16 takes half the space")
    batch_size: int = key(256, "images per forward pass on a device; on a CPU, its threads share them", at_least(1))
    precision: Literal["auto", "bf16", "fp32"] = key("fp32", "fp32 gives the same embeddings with any number of workers")
    decode: Literal["cpu", "gpu"] = key("cpu", "gpu: decode JPEGs on the GPU, for encoders of libraries; not measured yet")


BUDGET = Bound("a count of at least 1 or a share in (0, 1]", lambda value: value > 0 and (isinstance(value, int) or value <= 1))


@dataclass
class SelectConfig(Choice):
    name: str = key("top_activation", "the selection method", family=registry.SELECTORS)
    budget: int | float = key(
        0.0864,
        "how many: a count, a share, or advise",
        BUDGET,
    )
    per_class: bool = key(False, "select the same number of images from every class")
    ids: str | None = key(
        None,
        "a file of ids or keys that are the subset, in its order, whatever the method and budget: text, CSV, JSON lines or Parquet",
    )
    drop: list[str] = key(
        [],
        "what the audit finds of these kinds is left out before choosing, one of each duplicate is kept: "
        "[exact_duplicates,leaks,label_errors]",
        family=registry.CHECKS,
    )
    extends: str | None = key(
        None,
        "the folder of an earlier subset (DIR/select/...), perhaps of fewer images: its images stay, and the rest of the budget is "
        "chosen from the others",
    )
    pca: int | None = key(None, "reduce the embeddings to this many principal components", at_least(1, "component"))
    shard_rows: int = key(1_000_000, "embeddings in memory at once; with more, see rounds", at_least(1))
    rounds: int = key(
        1,
        "with more embeddings: 1, passes over the parts where the method can; 2, each shard first, then what these offer (GreeDi)",
        interval("[1, 2]"),
    )
    device: Literal["cpu", "gpu"] = key("cpu", "where embeddings are compared; near ties may fall otherwise on a GPU")
    content: Literal["originals", "working", "none"] = key(
        "originals",
        "what the subset holds: the original files byte for byte, the working copies, or only an index of where they lie",
    )
    soft_labels: Literal["none", "proxy", "teacher"] = key("none", "store the class probabilities of this model with the subset")
    views: int = key(8, "augmented views per image that a soft label is averaged over", at_least(1))
    soft_share: float = key(1.0, "weight of the predicted probabilities in a soft label; the given label has the rest", SHARE)

    @property
    def method(self) -> str:
        """What chooses, for people."""
        return "ids" if self.ids else self.name


@dataclass
class ExtraConfig:
    name: Literal["none", "copies", "generated", "interpolated"] = key("none", "extra training images, made from the given ones")
    amount: float = key(1.0, "number of extra images, as a multiple of the given ones", above(0))
    augment: list[str] = key(
        [],
        "name=copies: transforms, applied once to each copy: [rotate, blur]",
        family=registry.AUGMENTATIONS,
        options=True,
    )
