"""Vision towers of transformers: DINOv2, CLIP, SigLIP, and what else embeds pictures; from a folder or the hub."""

import importlib
from typing import Any

from PIL import Image
from torch import Tensor, nn

from dsopt.errors import InputError
from dsopt.models.libraries.contract import LIBRARY, Encoder, Preparation, prepared
from dsopt.models.libraries.weights import fetched, load_into, read_weights

library = importlib.import_module("transformers")  # as an import statement it takes three tenths of the time of `pyright`


def encoder(name: str, weights: str, size: int | None) -> Encoder:
    """transformers: a folder or a name of the hub, such as transformers:facebook/dinov2-small."""
    library.utils.logging.disable_progress_bar()
    with fetched(f"transformers:{name}"):
        processor = library.AutoImageProcessor.from_pretrained(name, backend="pil")
        if weights == LIBRARY:
            network = library.AutoModel.from_pretrained(name)
        else:
            network = library.AutoModel.from_config(library.AutoConfig.from_pretrained(name))
    if weights != LIBRARY:
        load_into(network, read_weights(weights), f"transformers:{name}")
    return prepared(Tower(network), preparation(processor, name, size))


class Tower(nn.Module):
    """Pictures -> one vector each: what a model of text and images compares, else the pooled output, else the first token."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        joint = hasattr(self.network, "get_image_features")
        found = self.network.get_image_features(images) if joint else self.network(images)
        if isinstance(found, Tensor):
            return found
        pooled = found.pooler_output
        return found.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


def preparation(processor: Any, name: str, size: int | None) -> Preparation:
    """The processor's own configuration, at another size if one is given. Raises InputError for one that is not understood."""
    about = processor.to_dict()
    wanted, crop = about.get("size") or {}, about.get("crop_size") or {}
    squash = "shortest_edge" not in wanted
    resize = wanted.get("height") if squash else wanted["shortest_edge"]
    side = (crop.get("height") if about.get("do_center_crop") else None) or resize
    if not resize or not side or (squash and side != resize):
        raise InputError(f"transformers:{name}: its processor resizes to {wanted} and crops to {crop}, which is not understood.")
    scaled = (size, round(resize * size / side)) if size else (side, resize)
    how = Image.Resampling(about.get("resample", Image.Resampling.BICUBIC))
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, deviation = (about["image_mean"], about["image_std"]) if about.get("do_normalize", True) else (zero, one)
    return Preparation(*scaled, tuple(mean), tuple(deviation), how, squash)
