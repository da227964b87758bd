"""What a process may use of the machine's memory, its container's and a GPU's."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch
from digits import CPU

from dsopt.data import room

GIB = 2**30
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
UNLIMITED = 9223372036854771712  # as version 1 says it


def machine(root: Path, groups: str, files: dict[str, object]) -> Path:
    """A pretended root with `groups` in /proc/self/cgroup, and files under /sys/fs/cgroup."""
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"memory.max": GIB}, GIB),
        ("0::/", {"memory.max": "max"}, MACHINE),
        ("0::/", {}, MACHINE),  # the root group of a machine has no such file
        # The lowest limit on the way up: a pod has 2 GiB, its container no limit of its own.
        ("0::/pods/a/b", {"memory.max": 4 * GIB, "pods/a/memory.max": GIB, "pods/a/b/memory.max": "max"}, GIB),
        # In a container, version 1 tells the machine's path, of which only the end is mounted, as the root.
        ("4:memory:/docker/abc\n1:cpu:/docker/abc\n0::/", {"memory/memory.limit_in_bytes": GIB}, GIB),
        ("4:cpu,memory:/slice", {"memory/memory.limit_in_bytes": UNLIMITED, "memory/slice/memory.limit_in_bytes": GIB}, GIB),
        ("4:memory:/slice", {"memory/memory.limit_in_bytes": UNLIMITED}, MACHINE),
        ("0::/", {"memory.max": 2 * MACHINE}, MACHINE),
    ],
)
def test_the_lesser_of_the_machines_memory_and_the_limits_of_control_groups(tmp_path, groups, files, expected):
    assert room.memory(machine(tmp_path, groups, files)) == expected


def test_a_system_without_control_groups(tmp_path):
    assert room.memory(tmp_path) == MACHINE


def test_a_set_is_kept_in_the_memory_of_a_container_only_if_it_fits_there(tmp_path, monkeypatch):
    assert room.fits_memory(GIB // 16)
    limited = machine(tmp_path, "0::/", {"memory.max": GIB})
    monkeypatch.setattr(room, "memory", partial(room.memory, limited))
    assert room.fits_memory(GIB // 16) and not room.fits_memory(GIB // 16 + 1)


def test_what_the_allocator_holds_in_reserve_is_free(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1 * GIB)
    assert room.fits_device(4 * GIB, gpu) and not room.fits_device(4 * GIB + 1, gpu)
    assert room.fits_device(2**60, CPU)
