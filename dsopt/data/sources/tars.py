"""The index of tar files: where each member lies, so that any of them can be read by its range of bytes."""

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, cast

from dsopt.data.sources import kinds
from dsopt.data.sources.labels import LABEL_COLUMNS, clean, written
from dsopt.data.sources.listing import Skipped
from dsopt.errors import InputError, first_line
from dsopt.files import filesystem, is_remote, retried, write_bytes
from dsopt.storage import content_digest

FORMAT = 3  # of kept indices: raised when what is read changes
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
        skipped: keys without an image, and names that are not UTF-8.
        fields: all extensions of samples with an image, and the keys of their `json` members.
        end: what is wrong with the end of the file, else "".
    """

    samples: tuple[Sample, ...]
    extensions: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    fields: frozenset[str]
    end: str


class _Member(NamedTuple):
    """Where the content of a member lies; its label, if it was read for one."""

    offset: int
    size: int
    label: int | str | None


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
        samples, extensions, skipped, fields, end = json.loads(file.read_text())
        both = tuple(Sample(*one) for one in samples), tuple(extensions), tuple(Skipped(*one) for one in skipped)
        return Index(*both, frozenset(fields), end)
    found = read_index(uri, image, label)
    with contextlib.suppress(OSError):  # a full or read-only disk
        write_bytes(str(file), json.dumps([*found[:3], sorted(found.fields), found.end]).encode())
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
    """Members of one key belong together, wherever they lie; of two with one name the last counts, as when a tar is unpacked."""
    found, names, fields, skipped = {}, (label,) if label else LABEL_MEMBERS, set(), []
    for member in tar:
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all of them, which may be millions
        folder, _, last = member.name.rpartition("/")
        stem, dot, extension = last.partition(".")
        if not member.isfile() or (not stem and dot) or "__MACOSX" in folder:
            continue
        if not _utf8(member.name):
            shown = member.name.encode(errors="surrogateescape").decode(errors="backslashreplace")
            skipped.append(Skipped(shown, "a name that is not UTF-8"))
            continue
        if not dot:
            skipped.append(Skipped(member.name, "a member without a suffix"))
            continue
        key, extension = f"{folder}/{stem}".removeprefix("./").lstrip("/"), extension.lower()
        value = _label(_content(member, file), extension, label, fields) if extension in (*names, "json") else None
        found.setdefault(key, {})[extension] = _Member(member.offset_data, member.size, value)
    samples, extensions = [], {}
    for key, members in found.items():
        used = _image(members, image)
        if used is None:
            skipped.append(Skipped(key, "a sample without an image"))
            continue
        extensions[used] = None
        fields |= members.keys()
        value = next((members[name].label for name in (*names, "json") if name in members), None)
        samples.append(Sample(f"{key}.{used}", members[used].offset, members[used].size, value))
    return Index(tuple(samples), tuple(extensions), tuple(skipped), frozenset(fields), _end(tar, file))


def _utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _end(tar: tarfile.TarFile, file: io.BufferedReader) -> str:
    """What is wrong with the end of a tar: two blocks of zeros are its mark, and tarfile takes a damaged header for it."""
    file.seek(tar.offset)
    rest = file.read(BUFFER)
    if not rest:
        return "has no mark at its end: it may have been cut off"
    return f"is damaged, or several joined: nothing is read from byte {tar.offset:,} on" if rest.strip(b"\0") else ""


def _image(members: Collection[str], wanted: str | None) -> str | None:
    """The extension of the image of a sample: a plain one (jpg) before one of several parts (left.jpg)."""
    if wanted is not None:
        return wanted if wanted in members else None
    return min((name for name in members if is_image(name)), key=lambda extension: extension.count("."), default=None)


def is_image(extension: str) -> bool:
    """Whether members of this extension are images."""
    return "." + extension.rpartition(".")[2] in kinds.SUFFIXES


def _label(content: bytes, extension: str, wanted: str | None, fields: set[str]) -> int | str | None:
    """The label in a member; the keys of a `json` member are added to `fields`."""
    if extension != "json" or wanted == "json":
        return _plain(content.decode("utf-8-sig", errors="replace"))
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return _value(found)
    fields |= {f"json:{key}" for key in found}
    lower = {str(key).lower(): value for key, value in found.items()}
    names = (wanted.lower(),) if wanted else LABEL_MEMBERS
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
    value = written([text.strip()])[0].as_py()
    return clean(text.strip()) if isinstance(value, float) else clean(value)


def _value(value: Any) -> int | str | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return clean(value) if isinstance(value, int | str) else None
