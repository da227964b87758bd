"""Memory for decoded images; if they do not fit, memory-mapped files on disk, which the page cache holds as far as it can."""

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

from dsopt.data import room
from dsopt.errors import JobError

Shape = tuple[int, ...]  # n, h, w, c
Pixels = UInt8[Tensor, "n h w c"]

_used: list[int] = []  # file descriptors kept open until the process ends: their shared locks mark the files as in use


def fits_disk(name: str, size: int) -> bool:
    """Whether the shared buffer of this name is there, perhaps while it is filled, or there is space on disk for it."""
    folder = _folder()
    _discard_unused(folder, name)
    path = folder / name
    return (path.exists() and path.stat().st_size > 0) or room.fits_disk(size, folder)


def empty(shape: Shape, streamed: bool | None = None) -> Pixels:
    """An uninitialized buffer for this process: on disk if `streamed`, or if `streamed` is None and memory does not suffice."""
    if streamed or (streamed is None and not room.fits_memory(math.prod(shape))):
        return private(shape)
    return torch.empty(shape, dtype=torch.uint8)


def private(shape: Shape) -> Pixels:
    """A buffer on disk for this process; the system frees it when the process ends, even if it is killed.

    Raises:
        JobError: not enough space left on disk.
    """
    file, path = tempfile.mkstemp(prefix="dsopt-")
    try:
        _allocate(file, Path(path).parent, math.prod(shape))
        return _mapped(file, shape)
    finally:
        os.unlink(path)  # the mapping stays valid, and the space is freed with it
        os.close(file)


@contextlib.contextmanager
def buffer(name: str | None, shape: Shape, streamed: bool | None = None) -> Iterator[tuple[Pixels, bool]]:
    """That of all processes under a name (`shared`), and whether it is filled; without a name one for this process (`empty`)."""
    if name is None or streamed is False:
        yield empty(shape, streamed), False
    else:
        with shared(name, shape, streamed is None and room.fits_memory(math.prod(shape))) as found:
            yield found


@contextlib.contextmanager
def shared(name: str, shape: Shape, else_memory: bool = False) -> Iterator[tuple[Pixels, bool]]:
    """A buffer on disk for all processes of this machine, and whether it is filled: the first fills it while the others wait.

    The file stays for later processes. It is deleted when a buffer of another name is requested and no process uses it.

    Args:
        else_memory: without enough space on disk, give memory of this process alone.

    Raises:
        JobError: not enough space left on disk, without `else_memory`.
    """
    folder, size = _folder(), math.prod(shape)
    _discard_unused(folder, name)
    path = folder / name
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(file, fcntl.LOCK_SH)  # marks the file as in use, see _discard_unused
    try:
        with open(_fill_lock(path), "wb") as lock:
            if not _filled(file, size):
                fcntl.flock(lock, fcntl.LOCK_EX)  # waits for whoever fills it; released when `lock` is closed
            if _filled(file, size):
                yield _mapped(file, shape), True
            else:
                yield from _fill(file, folder, shape, else_memory)
    except BaseException:
        os.close(file)
        raise
    _used.append(file)


def _fill(file: int, folder: Path, shape: Shape, else_memory: bool) -> Iterator[tuple[Pixels, bool]]:
    size = math.prod(shape)
    try:
        _allocate(file, folder, size)
    except JobError:
        os.ftruncate(file, 0)
        if not else_memory:
            raise
        yield torch.empty(shape, dtype=torch.uint8), False
        return
    try:
        yield _mapped(file, shape), False
    except BaseException:
        os.ftruncate(file, 0)
        raise
    os.fsync(file)  # before the marker: after a crash of the machine the marker must not be there without the images
    os.pwrite(file, b"\1", size)


def _filled(file: int, size: int) -> bool:
    """Whether the file has all images: then one extra byte, the marker, follows them."""
    return os.fstat(file).st_size == size + 1


def _fill_lock(path: Path) -> Path:
    """The file whose lock is held by the process that fills `path`."""
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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: some process uses it
            for each in (_fill_lock(path), path):
                each.unlink(missing_ok=True)


def _allocate(file: int, folder: Path, size: int) -> None:
    """Reserve the disk space now: writing to a mapping when the disk is full kills the process (SIGBUS). macOS has no such call."""
    try:
        getattr(os, "posix_fallocate", lambda file, start, size: os.ftruncate(file, size))(file, 0, size)
    except OSError as error:
        needs = f"{size / 2**30:.1f} GiB for decoded images in {folder}"
        raise JobError(f"no space: {needs}: {error.strerror}; set TMPDIR to another folder.") from None


def _mapped(file: int, shape: Shape) -> Pixels:
    # torch.from_file takes a path; /dev/fd names the open file, which may have no other name any more.
    return torch.from_file(f"/dev/fd/{file}", shared=True, size=math.prod(shape), dtype=torch.uint8).view(shape)
