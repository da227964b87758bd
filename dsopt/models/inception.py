"""The Inception network whose features define the FID, with its TensorFlow weights as converted by torch-fidelity."""

import io
import tempfile
from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dsopt.errors import InputError
from dsopt.files import first_line


def inception(weights: bytes, device: torch.device) -> Callable[[UInt8[Tensor, "b c h w"]], Float[Tensor, "b 2048"]]:
    """Images -> the last pooled features of Inception-v3, resized as TensorFlow 1 does: torch-fidelity's own network.

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
    network = network.to(device).eval()
    return lambda images: network(images.to(device).expand(-1, 3, -1, -1))[0]
