"""Networks of torchvision with weights of the user's, as embedders."""

import io
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dsopt.errors import InputError, unknown
from dsopt.files import first_line

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which torchvision's networks are trained with


def pretrained(
    name: str, weights: bytes, size: int, device: torch.device
) -> Callable[[UInt8[Tensor, "b c h w"]], Float[Tensor, "b d"]]:
    """A classifier of torchvision without its last layer: images -> what went into it.

    Args:
        weights: a state dictionary as `torch.save` wrote it; nothing in it is executed.
        size: pixels a side that images are brought to.

    Raises:
        InputError: no such network, or weights that are not its own.
    """
    import torchvision  # takes 3 s, and is only needed here

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise unknown("embed.network", name, names)
    try:
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
        classes = _last_linear(torchvision.models.get_model(name, weights=None))[1].out_features
        last = [value for value in state.values() if value.ndim == 2][-1]
        network = torchvision.models.get_model(name, weights=None, **({"num_classes": len(last)} if len(last) != classes else {}))
        network.load_state_dict(state)
    except Exception as error:  # whatever a wrong file makes torch raise
        raise InputError(f"embed.weights: are not those of {name}: {first_line(error)}") from None
    path, _ = _last_linear(network)
    parent, _, last_name = path.rpartition(".")
    setattr(network.get_submodule(parent), last_name, nn.Identity())
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    mean, deviation = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))

    def embed(images: Tensor) -> Tensor:
        floats = images.to(torch.float32).div(255).expand(-1, 3, -1, -1)
        if floats.shape[-1] != size or floats.shape[-2] != size:
            floats = F.interpolate(floats, (size, size), mode="bilinear", antialias=True)
        return network((floats - mean) / deviation).flatten(1)

    return embed


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    found = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise InputError("embed.network: has no fully connected last layer to leave out.")
    return found[-1]
