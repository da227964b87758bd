"""How much memory there is: of the machine, of the container that this process is in, and of a GPU."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

# Of the machine's memory, for one set: a process keeps up to four of them, and copies of parts.
SHARE = 1 / 16
DEVICE_SHARE = 1 / 2  # of a GPU's free memory
DISK_SHARE = 9 / 10  # of a folder's free space

processes = 1  # of this machine that read the same sets: beyond one, a set is decoded into one file for all; set by a worker


def memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, or the limit of its control groups (a container's) if that is less.

    Args:
        root: where `proc` and `sys/fs/cgroup` are mounted.
    """
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """The limits of this process's control groups, of version 1 and 2, and of those that they are in."""
    groups, mounted = root / "proc/self/cgroup", root / "sys/fs/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, own = line.split(":", 2)
        if "memory" in controllers.split(","):
            top, name = mounted / "memory", "memory.limit_in_bytes"
        elif not controllers:  # version 2
            top, name = mounted, "memory.max"
        else:
            continue
        # A container often sees its own group as the root of what is mounted, though its path is told from the machine's root:
        # then only that root exists here.
        group = top / own.strip("/")
        for folder in (group, *group.parents):
            limit = _number(folder / name)
            if limit is not None:
                yield limit
            if folder == top:
                break


def _number(file: Path) -> int | None:
    """The number in a file; None if it has another word, such as "max", or cannot be read."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def fits_memory(size: int) -> bool:
    """Whether `size` bytes may be kept in memory."""
    return size <= SHARE * memory()


def fits_disk(size: int, folder: Path) -> bool:
    """Whether a file of `size` bytes may be written to a folder."""
    return size <= DISK_SHARE * shutil.disk_usage(folder).free


def fits_device(size: int, device: torch.device) -> bool:
    """Whether `size` bytes may be kept on a device, beside the networks."""
    if device.type != "cuda":
        return True
    # What torch's allocator holds in reserve is free for tensors of this process, though the driver counts it as used.
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size <= DEVICE_SHARE * (torch.cuda.mem_get_info(device)[0] + reserve)
