"""Well-known data sets: searched for in data.root, a Debian package and the cache, else downloaded by torchvision."""

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from dsopt.config import DataConfig
from dsopt.data.sets.parquet import Known as KnownLabels
from dsopt.data.sets.parquet import parquet_files, parquet_source
from dsopt.data.sources.listing import File, list_folder
from dsopt.data.sources.source import Arrays, Listing, Source, array_shards
from dsopt.errors import InputError
from dsopt.files import absolute, exists, is_remote, join, read_bytes

_DOWNLOADS = ContextVar("downloads", default=True)


@contextmanager
def without_downloads() -> Iterator[None]:
    """A context in which a missing data set is an error instead of a download: a dry run must change nothing."""
    before = _DOWNLOADS.set(False)
    try:
        yield
    finally:
        _DOWNLOADS.reset(before)


@dataclass(frozen=True)
class Known:
    """A well-known data set.

    Args:
        torchvision: the name of its class in `torchvision.datasets`.
        folder: where torchvision puts its files, below its root.
        files: all files needed; each may be compressed, with ".gz" added to its name.
        archive: the one file that contains all of them, as it is downloaded.
        read: the URIs of `files` (or of the archive alone) -> arrays; cached, and picklable (importable by name).
        classes: the names of the labels 0, 1, ...
        installed: the folder into which a Debian package installs it.
    """

    name: str
    torchvision: str
    folder: str
    files: tuple[str, ...]
    read: Callable[[tuple[str, ...]], Arrays]
    classes: tuple[str, ...]
    archive: str | None = None
    installed: str | None = None


def find_known(known: Known, data: DataConfig) -> Source:
    """The source of a well-known set; if it is not found, it is downloaded into `data.root`, or into the cache without one.

    Raises:
        InputError: `data.root` does not exist, or the set is incomplete, or it is missing and cannot be downloaded.
    """
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dsopt")
    root = absolute(data.root) if data.root else None
    if root and (source := _in_files(known, root) or _in_parquet(known, root)):
        return source
    places = [place for place in (known.installed, cache) if place]
    if root and not exists(root):
        raise InputError(
            f"data.root={root}: does not exist; without data.root, {known.name} is searched for in {' and '.join(places)}, "
            f"else downloaded into {cache}."
        )
    for place in places:
        if source := _in_files(known, place):
            return source
    target = root if root and not is_remote(root) else cache
    if not _DOWNLOADS.get():
        raise InputError(
            f"data.name={known.name}: not found, and a dry run downloads nothing, so its stages are not known; "
            f"expected data.root=... with the folder it is in, or a run without dry_run, which downloads it into {target}."
        )
    _download(known, target)
    source = _in_files(known, target)
    assert source is not None
    return source


def _in_files(known: Known, root: str) -> Source | None:
    """The set as the files that torchvision uses, in `root` or where torchvision puts them below it."""
    for folder in (root, join(root, known.folder)):
        listed = {file.name: file for file in list_folder(folder, recursive=False)}
        found = [listed.get(name) or listed.get(f"{name}.gz") for name in known.files]
        files = [file for file in found if file]
        if len(files) == len(known.files):
            return _source(known, folder, files)
        if known.archive in listed:
            return _source(known, folder, [listed[known.archive]])
        if files:
            missing = [name for name, file in zip(known.files, found, strict=True) if file is None]
            raise InputError(f"data.name={known.name}: {folder} has {files[0].name}, but lacks {', '.join(missing)}.")
    return None


def _source(known: Known, folder: str, files: list[File]) -> Source:
    uris = tuple(join(folder, file.name) for file in files)
    digests = {file.name: _content(uri, file.size, file.version) for file, uri in zip(files, uris, strict=True)}
    fingerprint = {"set": known.name, "files": digests}
    return Source(fingerprint, is_remote(folder), functools.partial(_list_shards, known, uris))


def _list_shards(known: Known, uris: tuple[str, ...]) -> Listing:
    return array_shards(known.name, known.read, uris), list(known.classes)


@functools.lru_cache(maxsize=64)
def _content(uri: str, size: int, version: int) -> str:
    """A digest of a file. Names and sizes would not do: a copy with other labels has the same."""
    return f"{size}-{hashlib.blake2b(read_bytes(uri), digest_size=8).hexdigest()}"


def _in_parquet(known: Known, root: str) -> Source | None:
    """The set as Parquet files from the Hugging Face hub."""
    base, files = parquet_files(root)
    return parquet_source(base, files, known=KnownLabels(known.name, known.classes)) if files else None


def _download(known: Known, target: str) -> None:
    """Download into a scratch folder, then move it into place: an interrupted download leaves nothing incomplete behind."""
    import torchvision.datasets  # slow to import, and only needed here

    top = Path(known.folder).parts[0]
    try:
        os.makedirs(target, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as scratch:
            getattr(torchvision.datasets, known.torchvision)(scratch, download=True)
            if not os.path.exists(os.path.join(target, top)):  # another process may have been faster
                shutil.move(os.path.join(scratch, top), os.path.join(target, top))
    except (OSError, RuntimeError) as error:
        where = os.path.join(target, known.folder)
        wanted = f"{known.archive}, or " if known.archive else ""
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise InputError(
            f"data.name={known.name}: not found, and the download failed ({reason}); put {wanted}"
            f"{', '.join(known.files)} (or Parquet files from the Hugging Face hub) into {where}, with data.root={target}."
        ) from None
