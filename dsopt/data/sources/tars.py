"""The index of tar files: where each member lies, so that any of them can be read by its range of bytes."""

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from dsopt.data.sources import kinds
from dsopt.data.sources.labels import LABEL_COLUMNS, clean
from dsopt.errors import InputError, first_line
from dsopt.files import filesystem, is_remote, retried, write_bytes
from dsopt.storage import content_digest

FORMAT = 1  # of kept indices: raised when what is read changes
BUFFER = 1 << 18  # bytes per request while the headers are read: small members pass in one, large ones are skipped
LABEL_BYTES = 1 << 16  # a larger member is not read for its label
LABEL_MEMBERS = ("cls", *LABEL_COLUMNS)


class Sample(NamedTuple):
    """The members of a tar with one key: the bytes of its image, and its label."""

    key: str
    offset: int
    length: int
    label: int | str | None


class Index(NamedTuple):
    """The samples of one tar.

    Args:
        extensions: of the images, those that are used first.
        no_image: keys without an image.
    """

    samples: tuple[Sample, ...]
    extensions: tuple[str, ...]
    no_image: tuple[str, ...]
    fields: frozenset[str]


def kept_index(uri: str, size: int, version: int, image: str | None = None, label: str | None = None) -> Index:
    """`read_index` of a tar on an object store, made once on this machine and kept in the user's cache while the tar is the same.

    Args:
        size, version: of the tar as its folder lists it; version 0, not known: nothing is kept.
    """
    if not version or not is_remote(uri):
        return read_index(uri, image, label)
    name = content_digest(json.dumps([FORMAT, uri, size, version, image, label]).encode())
    file = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsopt" / "tars" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):  # none yet, or none that can be read
        samples, extensions, no_image, fields = json.loads(file.read_text())
        return Index(tuple(Sample(*sample) for sample in samples), tuple(extensions), tuple(no_image), frozenset(fields))
    found = read_index(uri, image, label)
    with contextlib.suppress(OSError):  # a full or read-only disk
        write_bytes(str(file), json.dumps([*found[:3], sorted(found.fields)]).encode())
    return found


@retried
def read_index(uri: str, image: str | None = None, label: str | None = None) -> Index:
    """Read the headers of a tar, and the small members with labels.

    Args:
        image: the extension of the images; by default that of an image format.
        label: the key of the label in `json` members, or the extension of the member that holds it.

    Raises:
        InputError: it is not a plain tar.
    """
    system, path = filesystem(uri)
    with system.open_input_file(path) as handle, io.BufferedReader(cast(Any, handle), BUFFER) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                return _samples(tar, file, image, label)
        except tarfile.TarError as error:
            raise InputError(
                f"{uri}: not a plain tar file (compressed ones cannot be read in part): {first_line(error)}."
            ) from None


def _samples(tar: tarfile.TarFile, file: io.BufferedReader, image: str | None, label: str | None) -> Index:
    samples, extensions, no_image, fields = [], {}, [], set()
    for key, members in _groups(tar):
        found = _image(members, image)
        if found is None:
            no_image.append(key)
            continue
        extensions[found] = None
        fields |= set(members)
        member = members[found]
        value = _label(members, file, label, fields)
        samples.append(Sample(f"{key}.{found}", member.offset_data, member.size, value))
    return Index(tuple(samples), tuple(extensions), tuple(no_image), frozenset(fields))


def _groups(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Consecutive members of one key, by extension; the key ends at the first dot of the file name."""
    current, members = None, {}
    for member in tar:
        folder, _, last = member.name.rpartition("/")
        stem, dot, extension = last.partition(".")
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all of them, which may be millions
        if not member.isfile() or not dot or not stem or "__MACOSX" in folder:
            continue
        key = f"{folder}/{stem}".removeprefix("./").lstrip("/")
        if key != current:
            if current is not None:
                yield current, members
            current, members = key, {}
        members[extension.lower()] = member
    if current is not None:
        yield current, members


def _image(members: dict[str, tarfile.TarInfo], wanted: str | None) -> str | None:
    """The extension of the image of a sample: a plain one (jpg) before one of several parts (left.jpg)."""
    if wanted is not None:
        return wanted if wanted in members else None
    images = [extension for extension in members if "." + extension.rpartition(".")[2] in kinds.SUFFIXES]
    return min(images, key=lambda extension: extension.count("."), default=None)


def _label(members: dict[str, tarfile.TarInfo], file: io.BufferedReader, wanted: str | None, fields: set[str]) -> int | str | None:
    for name in (wanted,) if wanted else LABEL_MEMBERS:
        if name in members:
            return _plain(_content(members[name], file).decode("utf-8", errors="replace"))
    if "json" not in members:
        return None
    try:
        content = json.loads(_content(members["json"], file))
    except ValueError:
        return None
    if not isinstance(content, dict):
        return _value(content)
    fields |= {f"json:{key}" for key in content}
    lower = {str(key).lower(): value for key, value in content.items()}
    names = (wanted.lower(),) if wanted else ("cls", *LABEL_COLUMNS)
    return next((_value(lower[name]) for name in names if name in lower), None)


def _content(member: tarfile.TarInfo, file: io.BufferedReader) -> bytes:
    if member.size > LABEL_BYTES:
        return b""
    before = file.tell()
    file.seek(member.offset_data)
    data = file.read(member.size)
    file.seek(before)
    return data


def _plain(text: str) -> int | str | None:
    """The label of a text member: a number or a name."""
    text = text.strip()
    return int(text) if text.lstrip("-").isdecimal() else clean(text)


def _value(value: Any) -> int | str | None:
    if isinstance(value, float) and value == value and value == int(value):
        return int(value)
    return clean(value) if isinstance(value, int | str) else None
