"""The Inception network whose features define the FID, with its TensorFlow weights as converted by torch-fidelity."""

import io
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.errors import InputError
from dsopt.files import first_line


class Inception(NamedTuple):
    """`features`: images -> the last pooled features; `logits`: these -> logits of the classes without a bias, as for its score."""

    features: Callable[[UInt8[Tensor, "b c h w"]], Float[Tensor, "b 2048"]]
    logits: Callable[[Float[Tensor, "b 2048"]], Float[Tensor, "b 1008"]]


def inception(weights: bytes, device: torch.device) -> Inception:
    """Inception-v3 with images resized as TensorFlow 1 does: torch-fidelity's own network.

    Args:
        weights: the bytes of its file pt_inception-2015-12-05; nothing in it is executed.

    Raises:
        InputError: torch-fidelity is not installed, or the weights are not those of this network.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise InputError("measure.extractor=inception: needs torch-fidelity; install it with pip install 'dsopt[fid]'.") from None
    try:
        # A check first: torch-fidelity unpickles the file, which would execute whatever is in it.
        torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
        with tempfile.NamedTemporaryFile(suffix=".pth") as file:
            file.write(weights)
            file.flush()
            network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=file.name)
    except Exception as error:  # torch has no common base class for what a wrong file raises
        raise InputError(f"measure.weights: are not those of Inception: {first_line(error)}") from None
    network: Any = network.to(device).eval()
    return Inception(
        lambda images: network(images.to(device).expand(-1, 3, -1, -1))[0],
        lambda features: features.to(device) @ network.fc.weight.T,
    )
