"""A stage made part by part: a journal of the finished parts, so that an interrupted stage resumes with those that are left."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from dsopt.errors import InputError, JobError
from dsopt.files import list_files, read_bytes, write_bytes, write_table
from dsopt.progress import Progress, say
from dsopt.storage import Stage


class Journal:
    """What a stage has finished, item by item, so that an interrupted one resumes.

    One small JSON file an item below `folder`, written after the item's output: {"seconds", ...whatever the item yields}.
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
    """Do a stage's items that its journal does not have; the entries of all of them in order, and the seconds it took.

    Args:
        sizes: how many `unit` each item is, for the progress.
        stream: the indices to do -> their entries, each with its "index", in any order.
        folder: of the journal, for a stage that is made in several passes.
    """
    journal = Journal(stage, folder)
    if not set(journal.entries) <= set(range(len(sizes))):
        raise InputError(f"{stage.uri}: its journal is not of these {len(sizes)} items; remove the folder.")
    todo = [index for index in range(len(sizes)) if index not in journal.entries]
    count = sum(sizes[index] for index in journal.entries)
    if journal.entries:
        say(step_label, f"resumes after {count:,} {unit} of an interrupted run")
    progress = Progress(step_label, sum(sizes), unit, done=count)
    before = max((entry["seconds"] for entry in journal), default=0.0)
    started = time.monotonic()
    for entry in stream(todo) if todo else ():
        index = entry.pop("index")
        journal.add(index, entry | {"seconds": before + time.monotonic() - started})
        count += sizes[index]
        progress.update(count)
    if len(journal.entries) != len(sizes):
        raise JobError(f"{stage.uri}: only {len(journal.entries)} of {len(sizes)} items were made.")
    return list(journal), before + time.monotonic() - started


def write_part(stage: Stage, index: int, table: pa.Table, split: str | None = None) -> dict[str, Any]:
    """Write a part of a stage's table; gives its entry in the manifest. No file is written for a part without rows.

    The name follows from the index alone, so a part that is written twice replaces itself. Not compressed: what these tables hold
    are PNG or JPEG files and floats, which do not get smaller.
    """
    path = f"data/{split or 'part'}-{index:05d}.parquet"
    size = write_table(stage.path(path), table, compression="none") if len(table) else 0
    return {"path": path, "rows": len(table), "bytes": size} | ({"split": split} if split else {})
