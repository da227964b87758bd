"""Room for decoded images; where they do not fit in memory, in mapped files on disk, of which the system keeps what it can."""

import contextlib
import fcntl
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from dsopt.errors import JobError

SHARE = 1 / 16  # of the machine's memory that a set may take in every process: a machine may have eight of them
DEVICE_SHARE = 1 / 2  # of a GPU's free memory

Shape = tuple[int, ...]  # n, h, w, c
Pixels = UInt8[Tensor, "n h w c"]

_used: list[int] = []  # files open for this process's life: their locks say that they are in use


def fits_memory(size: int) -> bool:
    """Whether so many bytes may be kept in the memory of every process of this machine."""
    return size <= SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fits_device(size: int, device: torch.device) -> bool:
    """Whether so many bytes may be kept on a device, beside the networks."""
    return device.type != "cuda" or size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]


def empty(shape: Shape, streamed: bool | None = None) -> Pixels:
    """Room for this process alone: on disk if `streamed`, or if it is not given and so many do not fit in memory."""
    if streamed or (streamed is None and not fits_memory(math.prod(shape))):
        return private(shape)
    return torch.empty(shape, dtype=torch.uint8)


def private(shape: Shape) -> Pixels:
    """Room on disk for this process alone; gone when it ends, however it ends.

    Raises:
        JobError: the disk has not so much left.
    """
    file, path = tempfile.mkstemp(prefix="dsopt-")
    try:
        _allocate(file, Path(path).parent, math.prod(shape))
        return _mapped(file, shape)
    finally:
        os.unlink(path)  # what is mapped stays
        os.close(file)


@contextlib.contextmanager
def shared(name: str, shape: Shape) -> Iterator[tuple[Pixels, bool]]:
    """Room on disk for all processes of this machine, and whether it is filled; the first fills it while the others wait.

    It stays for later ones, until room of another name is asked for and no process uses it.

    Raises:
        JobError: the disk has not so much left.
    """
    folder, size = _folder(), math.prod(shape)
    _discard_unused(folder, name)
    path = folder / name
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(file, fcntl.LOCK_SH)  # says that it is used
    try:
        with open(_turn(path), "wb") as turn:
            if not _filled(file, size):
                fcntl.flock(turn, fcntl.LOCK_EX)
            if _filled(file, size):
                yield _mapped(file, shape), True
            else:
                yield from _fill(file, folder, shape)
    except BaseException:
        os.close(file)
        raise
    _used.append(file)


def _fill(file: int, folder: Path, shape: Shape) -> Iterator[tuple[Pixels, bool]]:
    size = math.prod(shape)
    try:
        _allocate(file, folder, size)
        yield _mapped(file, shape), False
    except BaseException:
        os.ftruncate(file, 0)
        raise
    os.fsync(file)  # or the byte might outlive a crash of the machine that the images do not
    os.pwrite(file, b"\1", size)


def _filled(file: int, size: int) -> bool:
    """Whether it has all images: a byte more than they are says so."""
    return os.fstat(file).st_size == size + 1


def _turn(path: Path) -> Path:
    """The lock of whoever fills a file."""
    return path.with_name(f".{path.name}")


def _folder() -> Path:
    folder = Path(tempfile.gettempdir(), f"dsopt-streamed-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _discard_unused(folder: Path, name: str) -> None:
    for path in folder.glob("[!.]*"):
        if path.name == name:
            continue
        with contextlib.suppress(FileNotFoundError, BlockingIOError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for each in (_turn(path), path):
                each.unlink(missing_ok=True)


def _allocate(file: int, folder: Path, size: int) -> None:
    """All of it now: memory mapped onto a disk that fills up later would end the process. (macOS has no call for it.)"""
    try:
        getattr(os, "posix_fallocate", lambda file, start, size: os.ftruncate(file, size))(file, 0, size)
    except OSError as error:
        needs = f"{size / 2**30:.1f} GiB for decoded images in {folder}"
        raise JobError(f"no room: {needs}: {error.strerror}; TMPDIR says where else.") from None


def _mapped(file: int, shape: Shape) -> Pixels:
    return torch.from_file(f"/dev/fd/{file}", shared=True, size=math.prod(shape), dtype=torch.uint8).view(shape)
