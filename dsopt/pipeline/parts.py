"""Stages that are written part by part, with a journal of the finished parts, so that an interrupted stage resumes."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from dsopt.errors import InputError, JobError
from dsopt.files import list_files, read_bytes, write_bytes, write_table
from dsopt.progress import Progress, say, size
from dsopt.storage import Stage


class Journal:
    """The finished items of a stage, from which an interrupted one resumes.

    One small JSON file for each item in `folder`, written after the item's output: {"seconds", ...the item's own entry}.
    """

    def __init__(self, stage: Stage, folder: str = "_journal") -> None:
        self.uri = stage.path(folder)
        names = list_files(self.uri)
        self.entries: dict[int, dict[str, Any]] = {
            int(name.removesuffix(".json")): json.loads(read_bytes(f"{self.uri}/{name}")) for name in names
        }

    def add(self, index: int, entry: dict[str, Any]) -> None:
        write_bytes(f"{self.uri}/{index:06d}.json", json.dumps(entry).encode())
        self.entries[index] = entry

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.entries[index] for index in sorted(self.entries))


def item_by_item(
    step_label: str,
    stage: Stage,
    sizes: Sequence[int],
    unit: str,
    stream: Callable[[list[int]], Iterator[dict[str, Any]]],
    folder: str = "_journal",
) -> tuple[list[dict[str, Any]], float]:
    """Process the items of a stage that are not in its journal yet.

    Args:
        sizes: the size of each item in `unit`, for the progress.
        stream: the indices to process -> their entries, each with its "index", in any order; "read", where they have it, is the
            number of bytes read for them.
        folder: of the journal, for a stage that is made in several passes.

    Returns:
        The entries of all items in order, and the seconds they took, earlier runs included.

    Raises:
        InputError: the journal belongs to other items.
        JobError: items are missing at the end.
    """
    journal = Journal(stage, folder)
    if not set(journal.entries) <= set(range(len(sizes))):
        raise InputError(f"{stage.uri}: its journal has entries beyond the {len(sizes)} items of this run; remove the folder.")
    todo = [index for index in range(len(sizes)) if index not in journal.entries]
    count = sum(sizes[index] for index in journal.entries)
    if journal.entries:
        say(step_label, f"resumes after {count:,} {unit} of an interrupted run")
    progress = Progress(step_label, sum(sizes), unit, done=count)
    before = max((entry["seconds"] for entry in journal), default=0.0)
    read, started = sum(entry.get("read", 0) for entry in journal), time.monotonic()
    for entry in stream(todo) if todo else ():
        index = entry.pop("index")
        journal.add(index, entry | {"seconds": before + time.monotonic() - started})
        count, read = count + sizes[index], read + entry.get("read", 0)
        progress.update(count, size(read) if read else "")
    if len(journal.entries) != len(sizes):
        raise JobError(f"{stage.uri}: only {len(journal.entries)} of {len(sizes)} items were finished.")
    return list(journal), before + time.monotonic() - started


def write_part(stage: Stage, index: int, table: pa.Table, split: str | None = None) -> dict[str, Any]:
    """Write a part of a stage's table and return its entry in the manifest. A part without rows gets no file.

    The name depends on the index alone, so a part that is written twice replaces itself. Parts are not compressed: they hold PNG or
    JPEG files and floats, which hardly shrink.
    """
    path = f"data/{split or 'part'}-{index:05d}.parquet"
    size = write_table(stage.path(path), table, compression="none") if len(table) else 0
    return {"path": path, "rows": len(table), "bytes": size} | ({"split": split} if split else {})
