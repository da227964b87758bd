"""JPEGs decoded by a GPU, by nvJPEG through torchvision; every other file, and what fails, is left to the CPU."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from dsopt.data import decoding
from dsopt.data.pixels import Unusable, opened, orientation
from dsopt.errors import first_line
from dsopt.progress import say

BATCH = 32  # files at a time; with 12 million pixels each they fill 1.2 GB


class GpuDecoder:
    """Files -> what is wanted of each, on the CPU; None for those that the CPU has to decode.

    nvJPEG's hardware engine writes at once, whatever its stream has still to do, and so into memory that a network has freed but
    its kernels still read (pytorch/vision#9606, torchcodec#1634). Hence a stream of its own, for which the host waits first: its
    memory is of no other stream.

    Args:
        shrunk: the pixels of a picture, uint8 [3, h, w] on the device -> what is wanted of them, all of one shape.
    """

    def __init__(self, shrunk: Callable[[UInt8[Tensor, "3 h w"]], Tensor], device: torch.device) -> None:
        self.shrunk, self.device = shrunk, device
        self.stream = torch.cuda.Stream(device) if torch.cuda.is_available() else None  # none: the device is a pretended one
        self.told = False

    def __call__(self, files: Sequence[bytes]) -> list[Tensor | None]:
        found: list[Tensor | None] = [None] * len(files)
        fit = [i for i, file in enumerate(files) if _decodes_alike(file)]
        for start in range(0, len(fit), BATCH):
            some = fit[start : start + BATCH]
            try:
                seen = self._batch([decoding.as_tensor(files[i]) for i in some])
            except (RuntimeError, AttributeError) as error:  # a later torchvision may lack this operator
                self._tell(error)
                continue
            for i, each in zip(some, seen, strict=True):
                found[i] = each
        return found

    def _batch(self, files: list[decoding.File]) -> Tensor:
        with torch.cuda.stream(self.stream):
            if self.stream is not None:
                self.stream.synchronize()
            return torch.stack([self.shrunk(pixels) for pixels in decoding.decoded_on_gpu(files, self.device)]).cpu()

    def _tell(self, error: Exception) -> None:
        if not self.told:
            say("embed.decode=gpu", f"JPEGs that the GPU does not decode are left to the CPU: {first_line(error)}")
        self.told = True


def _decodes_alike(file: bytes) -> bool:
    """Whether a file is an upright JPEG in Y'CbCr, by its components and by Adobe's marker, which decoders may heed or not."""
    if not file.startswith(b"\xff\xd8"):
        return False
    try:
        picture = opened(file)
    except Unusable:
        return False  # the CPU tells why
    if picture.format != "JPEG" or picture.mode != "RGB" or orientation(picture) != 1:
        return False
    components = [component[0] for component in picture.layer]  # type: ignore[attr-defined]
    return components == [1, 2, 3] and picture.info.get("adobe_transform", 1) == 1
