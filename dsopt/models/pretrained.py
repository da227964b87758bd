"""torchvision's networks as embedders, with weights that the user provides."""

import io
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dsopt.errors import InputError, unknown
from dsopt.files import first_line

# Mean and standard deviation of ImageNet's channels, with which torchvision's networks are trained.
MEAN, STANDARD_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pretrained(
    name: str, weights: bytes, size: int, device: torch.device
) -> Callable[[UInt8[Tensor, "b c h w"]], Float[Tensor, "b d"]]:
    """A torchvision classifier without its last layer: images -> the inputs of that layer.

    Args:
        weights: a state dictionary as written by `torch.save`; nothing in it is executed.
        size: the side that images are resized to, in pixels.

    Raises:
        InputError: there is no such network, or the weights are not those of this network.
    """
    import torchvision  # takes 3 s to import, and is needed only here

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise unknown("embed.network", name, names)
    try:
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
        # A network trained on other data than ImageNet has another number of classes: the rows of its last matrix.
        classes = _last_linear(torchvision.models.get_model(name, weights=None))[1].out_features
        last = [value for value in state.values() if value.ndim == 2][-1]
        network = torchvision.models.get_model(name, weights=None, **({"num_classes": len(last)} if len(last) != classes else {}))
        network.load_state_dict(state)
    except Exception as error:  # torch has no common base class for what a wrong file raises
        raise InputError(f"embed.weights: are not those of {name}: {first_line(error)}") from None
    path, _ = _last_linear(network)
    parent, _, last_name = path.rpartition(".")
    setattr(network.get_submodule(parent), last_name, nn.Identity())
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    mean, deviation = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STANDARD_DEVIATION))

    def embed(images: Tensor) -> Tensor:
        floats = images.to(torch.float32).div(255).expand(-1, 3, -1, -1)
        if floats.shape[-1] != size or floats.shape[-2] != size:
            floats = F.interpolate(floats, (size, size), mode="bilinear", antialias=True)
        return network((floats - mean) / deviation).flatten(1)

    return embed


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    layers = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError("embed.network: has no fully connected last layer that could be removed.")
    return layers[-1]
