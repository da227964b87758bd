"""What a GPU decodes and what it leaves to the CPU, which stands in for it here."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dsopt import progress
from dsopt.data import decoding, nvjpeg
from dsopt.data.nvjpeg import GpuDecoder

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)


def file(format: str = "JPEG", mode: str = "RGB", turned: int | None = None, seed: int = 0, **options: Any) -> bytes:
    picture = Image.fromarray(np.roll(PIXELS, seed, 1)).convert(mode)
    if turned:
        exif = Image.Exif()
        exif[0x0112] = turned
        options["exif"] = exif
    sink = io.BytesIO()
    picture.save(sink, format, **options)
    return sink.getvalue()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that were decoded."""
    sizes: list[int] = []

    def decoded(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        sizes.append(len(files))
        return [decoding.decoded(each) for each in files]

    monkeypatch.setattr(decoding, "decoded_on_gpu", decoded)
    return sizes


def corner(pixels: torch.Tensor) -> torch.Tensor:
    return pixels[:, :8, :8]


def test_jpegs_go_as_one_batch_and_keep_their_places(batches: list[int]) -> None:
    files = [file(), file("PNG"), file(seed=5), b"broken", file(turned=1, seed=7), file(progressive=True, seed=9)]
    found = GpuDecoder(corner, CPU)(files)
    assert batches == [4]
    assert [i for i, each in enumerate(found) if each is None] == [1, 3]
    for i in (0, 2, 4, 5):
        assert torch.equal(found[i], corner(decoding.decoded(decoding.as_tensor(files[i]))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        file(turned=6),
        file(mode="L"),
        file(mode="CMYK"),
        file(keep_rgb=True),  # its components are no Y'CbCr
        file(keep_rgb=True).replace(b"R\x11\0G\x11\0B\x11\0", b"\1\x11\0\2\x11\0\3\x11\0"),  # as only the marker of Adobe's says
        file("WEBP"),
        file()[:40],
        b"",
    ],
    ids=["turned", "gray", "cmyk", "rgb", "rgb by marker", "webp", "cut", "empty"],
)
def test_what_a_gpu_would_see_otherwise_is_left_to_the_cpu(other: bytes, batches: list[int]) -> None:
    found = GpuDecoder(corner, CPU)([other, file()])
    assert found[0] is None and found[1] is not None and batches == [1]


def test_a_batch_that_fails_is_left_to_the_cpu_and_told_once(monkeypatch: pytest.MonkeyPatch, batches: list[int]) -> None:
    lines: list[str] = []
    monkeypatch.setattr(progress, "output", lines.append)
    monkeypatch.setattr(nvjpeg, "BATCH", 2)
    decoded = decoding.decoded_on_gpu

    def fails_after_the_first(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        if batches:
            raise RuntimeError("Unknown chroma subsampling\nmore")
        return decoded(files, device)

    monkeypatch.setattr(decoding, "decoded_on_gpu", fails_after_the_first)
    found = GpuDecoder(corner, CPU)([file(seed=i) for i in range(5)])
    assert [each is None for each in found] == [False, False, True, True, True]
    assert len(lines) == 1 and lines[0].endswith("left to the CPU: Unknown chroma subsampling")
