"""Image towers of OpenCLIP."""

from typing import Any

import open_clip
from PIL import Image
from torch import Tensor, nn

from dsopt.errors import InputError, unknown
from dsopt.models.libraries.contract import LIBRARY, Encoder, Preparation, prepared
from dsopt.models.libraries.weights import fetched, local_copy


def encoder(name: str, weights: str, size: int | None) -> Encoder:
    """OpenCLIP: a network, and after a second colon its weights, such as open_clip:ViT-B-32:laion2b_s34b_b79k."""
    name, _, tag = name.partition(":")
    if name not in open_clip.list_models():
        raise unknown("network of OpenCLIP", name, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights == LIBRARY and (tag not in tags if tag else not tags):
        raise InputError(f"open_clip:{name}: has no weights {tag}; expected one of {', '.join(tags)}, or embed.weights.")
    library: Any = open_clip
    with local_copy(weights) as file, fetched(f"open_clip:{name}", weights):
        size_of = {"force_image_size": size} if size else {}
        network = library.create_model(name, pretrained=file or tag or tags[0], **size_of)
    return prepared(Tower(network), preparation(network, name))


class Tower(nn.Module):
    """Pictures -> the vectors that are compared with those of texts."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.visual = network.visual

    def forward(self, images: Tensor) -> Tensor:
        found = self.visual(images)
        return found[0] if isinstance(found, tuple) else found


def preparation(network: nn.Module, name: str) -> Preparation:
    """The network's own configuration. Raises InputError for one that is not understood."""
    about: Any = open_clip.get_model_preprocess_cfg(network)
    side = about["size"] if isinstance(about["size"], int) else about["size"][0]
    if about["resize_mode"] not in ("shortest", "squash"):
        raise InputError(f"open_clip:{name}: resizes by {about['resize_mode']!r}, which is not supported.")
    how = Image.Resampling[about["interpolation"].upper()]
    return Preparation(side, side, tuple(about["mean"]), tuple(about["std"]), how, about["resize_mode"] == "squash")
