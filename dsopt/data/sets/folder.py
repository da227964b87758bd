import functools
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dsopt.config import DataConfig
from dsopt.data.source import Listing, Place, Shard, Source, SourceRow, decide_splits, digest, list_folder, named_split, needed_root
from dsopt.errors import InputError
from dsopt.files import exists, is_remote, join, read_bytes
from dsopt.registry import DATASETS

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SHARD_FILES = 1024  # fewer than SHARD_ROWS: every row is a file to open, on an object store a request
READ_AHEAD = 32  # files read concurrently, which hides the latency of an object store

LabelledFile = tuple[str, str | None]  # file name, class name


@DATASETS.register
def folder(data: DataConfig) -> Source:
    """Image files in folders: train/<class>/* and test/<class>/*, or <class>/*; without class folders there are no labels."""
    root = needed_root(data)
    files = [file for file in list_folder(root) if file.name.lower().endswith(EXTENSIONS)]
    if not is_remote(root) and not exists(root):
        raise InputError(f"data.root={root}: there is no such folder.")
    if not files:
        raise InputError(f"data.root={root}: no image files there; expected <class>/*.png, or train/<class>/* and test/<class>/*.")
    splits = _splits(root, [file.name for file in files])
    return Source(digest(files), is_remote(root), functools.partial(_list_shards, root, splits))


def _splits(root: str, names: list[str]) -> dict[str | None, list[LabelledFile]]:
    """The files of each split with their classes."""
    tops: dict[str, list[str]] = defaultdict(list)
    for name in names:
        tops[name.partition("/")[0] if "/" in name else ""].append(name)
    named = {top: named_split(top) if _is_split(top) else None for top in tops}
    uses = decide_splits(set(named.values()) - {None})
    if "test" in uses.values():
        if stray := sorted(top or tops[top][0] for top in tops if named[top] is None):
            raise InputError(f"data.root={root}: has train/ and test/, but also {', '.join(stray[:3])}; move it into one of them.")
        files = {use: [name for top in tops if uses.get(named[top]) == use for name in tops[top]] for use in ("train", "test")}
        return {use: _labelled(files[use], 1) for use in files}
    alone = len(tops) == 1 and next(iter(named.values())) is not None  # e.g. only train/<class>/*: no test split
    return {None: _labelled(names, 1 if alone else 0)}


def _is_split(top: str) -> bool:
    return top.lower() in ("train", "training", "test", "testing", "val", "valid", "validation")


def _labelled(names: list[str], depth: int) -> list[LabelledFile]:
    """Files with the folder at `depth` as their class, classes interleaved: the first file of every class, then the second, ...

    So the first rows of a split (`data.limit`) contain all classes, and so does every shard.
    """
    counts: dict[str | None, int] = defaultdict(int)
    ordered = []
    for name in sorted(names):
        parts = name.split("/")
        label = parts[depth] if len(parts) > depth + 1 else None
        ordered.append((counts[label], label or "", name, label))
        counts[label] += 1
    return [(name, label) for _, _, name, label in sorted(ordered)]


def _list_shards(root: str, splits: dict[str | None, list[LabelledFile]]) -> Listing:
    classes = sorted({label for files in splits.values() for _, label in files if label is not None})
    shards, first_id = [], 0
    for split, files in splits.items():
        for start in range(0, len(files), SHARD_FILES):
            some = tuple(files[start : start + SHARD_FILES])
            shards.append(Shard(split, first_id + start, FileRows(root, some), len(some), labelled=bool(classes)))
        first_id += len(files)
    return shards, classes or None


@dataclass(frozen=True)
class FileRows:
    """One row per file. A file that cannot be opened is a row without an image."""

    root: str
    files: tuple[LabelledFile, ...]

    def __call__(self) -> Iterator[SourceRow]:
        with ThreadPoolExecutor(READ_AHEAD) as pool:
            for start in range(0, len(self.files), READ_AHEAD):
                yield from pool.map(self._row, self.files[start : start + READ_AHEAD])

    def _row(self, file: LabelledFile) -> SourceRow:
        name, label = file
        uri = join(self.root, name)
        try:
            return SourceRow(read_bytes(uri), label, name, Place(uri))
        except (FileNotFoundError, PermissionError):
            return SourceRow(None, label, name)
