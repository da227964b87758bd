"""What lies below a root: every real folder once, without what is hidden, the system's, or this package's own."""

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.fs as pf

from dsopt import schemes
from dsopt.config import DataConfig
from dsopt.errors import InputError
from dsopt.files import absolute, filesystem, is_remote, join, read_bytes, retried

# What systems and programs leave in folders.
_LEFT_BY_SYSTEMS = re.compile(
    r"(?i)\._.*|\.DS_Store|\.AppleDouble|__MACOSX|@eaDir|[@#](recycle|snapshot)|\$RECYCLE\.BIN|System Volume Information"
    r"|lost\+found|Thumbs\.db|desktop\.ini|\.git|\.ipynb_checkpoints|\.cache"
)
_STAGE = re.compile(r".+-[0-9a-f]{12}")  # the folder of a stage: its name and its hash
_VERSIONS = ("ETag", "etag", "blob_id", "md5Hash", "content_hash", "last_modified", "LastModified", "mtime", "created")
EXAMPLES, OWN = 3, "in a result of dsopt"


class File(NamedTuple):
    """A file below a root: its name relative to the root, its size in bytes, and what changes with its content (time, ETag)."""

    name: str
    size: int
    version: int


class PassedOver(NamedTuple):
    """Files that a source did not take, for one reason such as "hidden" or "not an image (.txt)".

    Args:
        examples: the first few.
        lost_classes: classes of which no other file is left.
    """

    reason: str
    count: int
    examples: tuple[str, ...] = ()
    lost_classes: tuple[str, ...] = ()


class Skipped(NamedTuple):
    """One name that was not taken, and why."""

    name: str
    reason: str


class Below(NamedTuple):
    """The files below a root, sorted by name, and what was skipped."""

    files: list[File]
    skipped: list[Skipped]


def needed_root(data: DataConfig) -> str:
    """`data.root` as an absolute URI. Raises InputError if it is not set."""
    if not data.root:
        raise InputError(f"data.name={data.name}: needs data.root=..., the folder or URI of the data.")
    return absolute(data.root)


def list_folder(uri: str, *, recursive: bool = True) -> list[File]:
    """The files below a folder, sorted by name, without hidden ones; empty if the folder does not exist."""
    return list_below(uri, recursive=recursive).files


@retried
def list_below(uri: str, *, recursive: bool = True) -> Below:
    """The files below a folder and what was skipped: hidden files, dead links, links to folders that are listed already."""
    found = _remote(uri, recursive) if is_remote(uri) else _local(absolute(uri), recursive)
    files, skipped = [], []
    for one in found:
        if isinstance(one, Skipped):
            skipped.append(one)
        elif reason := _unwanted(one.name):
            if reason != "system":
                skipped.append(Skipped(one.name, reason))
        else:
            files.append(one)
    return Below(sorted(files), sorted(skipped))


def list_data(root: str) -> Below:
    """The files of a data set: `list_below` without this package's stages, and one revision of a cache of the Hugging Face hub.

    Raises:
        InputError: a cache with several revisions, or several data sets.
    """
    files, skipped = list_below(root)
    stages = stage_folders(file.name for file in files)
    if stages:
        inside = [file for file in files if _lies_in(file.name, stages)]
        skipped += [Skipped(file.name, OWN) for file in inside]
        files = [file for file in files if not _lies_in(file.name, stages)]
    return Below(_revision(root, files), skipped)


def digest(files: list[File]) -> dict[str, Any]:
    """The fingerprint of a list of files; of fixed size, however many there are."""
    listed = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
    return {"files": len(files), "bytes": sum(file.size for file in files), "digest": listed}


def passed_over(skipped: Iterable[Skipped], lost: dict[str, str] | None = None) -> tuple[PassedOver, ...]:
    """Count by reason, the most frequent first.

    Args:
        lost: the class of those names whose class has no other file.
    """
    names: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, set[str]] = defaultdict(set)
    for name, reason in skipped:
        names[reason].append(name)
        if lost and name in lost:
            classes[reason].add(lost[name])
    counted = [PassedOver(r, len(some), tuple(some[:EXAMPLES]), tuple(sorted(classes[r]))) for r, some in names.items()]
    return tuple(sorted(counted, key=lambda one: (-one.count, one.reason)))


def stage_folders(names: Iterable[str]) -> set[str]:
    """The folders, among those of the given file names, that hold stages of this package: one for each kind."""
    folders: dict[str, set[str]] = defaultdict(set)  # folder -> what it holds
    for name in names:
        folder, _, last = name.rpartition("/")
        if last in ("_DONE", "manifest.json", "config.yaml"):
            folders[folder].add(last)
    stages = set()
    for folder, holds in folders.items():
        unfinished = "config.yaml" in holds and _STAGE.fullmatch(folder.rpartition("/")[2])
        if folder and ({"_DONE", "manifest.json"} <= holds or unfinished):
            stages.add(folder.rpartition("/")[0] or folder)  # a stage lies at <storage>/<kind>/<name>-<hash>
    return stages


def _lies_in(name: str, folders: set[str]) -> bool:
    at = name.find("/")
    while at >= 0:
        if name[:at] in folders:
            return True
        at = name.find("/", at + 1)
    return False


def _revision(root: str, files: list[File]) -> list[File]:
    """The files without those of other revisions, where some lie in caches of the hub: <set>/{blobs,refs,snapshots/<revision>}."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if match := re.match(r"(.*?)(?:^|/)snapshots/([^/]+)/", "/" + file.name):
            found[match[1].removeprefix("/")].add(match[2])
    names = {file.name for file in files}
    caches = {top: revisions for top, revisions in found.items() if any(_below(top, name, ("blobs/", "refs/")) for name in names)}
    if len(caches) > 1:
        raise InputError(f"{root}: holds several data sets, {' and '.join(sorted(caches)[:2])}; name one of them in data.root.")
    for top, revisions in caches.items():
        chosen = _main(root, top, names)
        if len(revisions) > 1 and chosen not in revisions:
            shown = " and ".join(f"{top}/snapshots/{revision}".lstrip("/") for revision in sorted(revisions)[:2])
            raise InputError(f"{root}: holds several revisions of one data set, {shown}; name one of them in data.root.")
        revision = chosen if chosen in revisions else min(revisions)
        files = [
            file
            for file in files
            if not _below(top, file.name, ("blobs/", "refs/"))
            and (not _below(top, file.name, ("snapshots/",)) or _below(top, file.name, (f"snapshots/{revision}/",)))
        ]
    return files


def _below(top: str, name: str, folders: tuple[str, ...]) -> bool:
    return name.startswith(tuple(f"{top}/{folder}".lstrip("/") for folder in folders))


def _main(root: str, top: str, names: set[str]) -> str | None:
    """The revision that a cache's branch `main` names."""
    name = f"{top}/refs/main".lstrip("/")
    return read_bytes(join(root, name)).decode(errors="replace").strip() if name in names else None


def _unwanted(name: str) -> str | None:
    """Why a file is not taken by its name alone."""
    parts = name.split("/")
    if any(_LEFT_BY_SYSTEMS.fullmatch(part) for part in parts):
        return "system"
    if any(part.startswith(".") for part in parts):
        return "hidden"
    return "a key with an empty part (//)" if "" in parts else None


# --- object stores ---------------------------------------------------------------------------------------------------


def _remote(uri: str, recursive: bool) -> Iterator[File | Skipped]:
    if schemes.by_fsspec(uri):
        yield from _by_fsspec(uri, recursive)
        return
    system, path = filesystem(uri)
    try:
        found = system.get_file_info(pf.FileSelector(path, recursive=recursive, allow_not_found=True))
    except NotADirectoryError:
        return
    for info in found:
        if info.type == pf.FileType.File:
            yield File(info.path[len(path) + 1 :], info.size, info.mtime_ns or 0)


def _by_fsspec(uri: str, recursive: bool) -> Iterator[File]:
    system, path = schemes.system(absolute(uri))
    try:
        found = system.find(path, maxdepth=None if recursive else 1, detail=True)
    except FileNotFoundError:
        return
    for name, info in found.items():
        if name.rstrip("/") != path and info.get("type", "file") == "file":
            yield File(name[len(path) :].lstrip("/"), info.get("size") or 0, version_of(info))


def version_of(info: dict[str, Any]) -> int:
    """A number that changes with a file's content, from what fsspec knows of it; 0 if that is nothing."""
    known = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    return int.from_bytes(hashlib.sha256(known.encode()).digest()[:7], "big") if known else 0


# --- local folders ---------------------------------------------------------------------------------------------------


def _local(root: str, recursive: bool) -> Iterator[File | Skipped]:
    """The files below a folder; links to folders are followed after the real folders, and only to what was not listed."""
    if not os.path.isdir(root):
        return
    links, seen, real = [("", root)], set[tuple[int, int]](), Path(root).resolve()
    above = {_identity(folder) for folder in (real, *real.parents)}
    while links:
        name, folder = links.pop(0)
        if name and ((identity := _identity(folder)) in seen or identity in above):
            yield Skipped(name, "a link to a folder that is read already")
        else:
            yield from _walk(name, folder, seen, links, recursive)


def _identity(folder: str | Path) -> tuple[int, int]:
    return (found := os.stat(folder)).st_dev, found.st_ino  # the same under all names that links and mounts give it


def _walk(
    name: str, folder: str, seen: set[tuple[int, int]], links: list[tuple[str, str]], recursive: bool
) -> Iterator[File | Skipped]:
    """Everything below one folder; links to folders are put aside into `links`."""
    seen.add(_identity(folder))
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        below = f"{name}/{entry.name}" if name else entry.name
        try:
            below.encode()
        except UnicodeEncodeError:
            yield from _unreadable(entry, below)
            continue
        if _LEFT_BY_SYSTEMS.fullmatch(entry.name):
            continue
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself
            is_folder = is_file = False
        if is_folder:
            if not recursive:
                continue
            if entry.name.startswith("."):
                yield Skipped(below, "hidden")
            elif entry.is_symlink():
                links.append((below, entry.path))
            elif _identity(entry.path) in seen:
                yield Skipped(below, "a folder that is read already under another name")
            else:
                yield from _walk(below, entry.path, seen, links, recursive)
        elif is_file:
            found = entry.stat()
            yield File(below, found.st_size, found.st_mtime_ns)
        elif entry.is_symlink():
            yield Skipped(below, "a dead link")
        else:
            yield Skipped(below, "neither a file nor a folder")


def _unreadable(entry: os.DirEntry[str], name: str) -> Iterator[Skipped]:
    """The files of a name that is not UTF-8: tables of images, and object stores, could not name them."""
    folders = os.walk(entry.path) if entry.is_dir() else [("", [], [""])]
    for folder, _, files in folders:
        for file in files:
            shown = os.path.join(name + folder.removeprefix(entry.path), file).rstrip("/")
            yield Skipped(shown.encode(errors="surrogateescape").decode(errors="backslashreplace"), "a name that is not UTF-8")
