"""Photographs of a file or a folder, coloured by a finished colorizer and written beside each other."""

import os
from dataclasses import dataclass

from dsopt.data import photos
from dsopt.data.pixels import Unusable
from dsopt.data.source import list_folder
from dsopt.errors import InputError
from dsopt.files import absolute, exists, is_remote, join, read_bytes, write_bytes
from dsopt.generation.colorize import colorized
from dsopt.progress import Progress, say
from dsopt.stages.colorizer import Colorizer

LABEL = "colorize"


@dataclass(frozen=True)
class Paths:
    """Where photographs come from and go to: pairs of URIs, and the file or folder that they go to."""

    pairs: list[tuple[str, str]]
    target: str
    folder: bool


def paths(source: str, target: str | None) -> Paths:
    """A file and its coloured one, or all files below a folder and theirs, of the same names; hidden ones are left out.

    What lies below the target is no photograph to be coloured: the target may be in the source.

    Raises:
        InputError: nothing there, no target, or one that is the source.
    """
    if not target:
        raise InputError("output: must say where the coloured pictures go; right is for example output=coloured.png.")
    given, wanted = absolute(source), absolute(target)
    if _same(given, wanted):
        raise InputError(f"output={target}: is the input itself, which would be lost; give another name.")
    files = [join(given, file.name) for file in list_folder(given)]
    files = [file for file in files if not file.startswith(wanted + "/")]
    if files:
        return Paths([(file, photos.written_name(wanted + file[len(given) :])) for file in files], wanted, True)
    if not exists(given) or (not is_remote(given) and os.path.isdir(given)):
        raise InputError(f"input={source}: there is no such picture, and no folder with any.")
    into = target.endswith("/") or (not is_remote(wanted) and os.path.isdir(wanted))
    if into:
        wanted = photos.written_name(join(wanted, given.rpartition("/")[2]))
        if _same(given, wanted):
            raise InputError(f"output={target}: has the input itself, which would be lost; give another name.")
    elif photos.written_name(wanted) != wanted:
        raise InputError(f"output={target}: must end in {', '.join(photos.KINDS)}.")
    return Paths([(given, wanted)], wanted, False)


def _same(one: str, other: str) -> bool:
    if is_remote(one) or is_remote(other):
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)


def color(found: Paths, colorizer: Colorizer) -> None:
    """Colour and write each. Raises InputError if not one of them is an image."""
    progress, broken = Progress(LABEL, len(found.pairs), "pictures"), []
    for index, (source, target) in enumerate(found.pairs):
        try:
            photo = photos.read(read_bytes(source))
        except (Unusable, PermissionError) as reason:
            if not found.folder:
                raise InputError(f"input={source}: {reason}.") from None
            broken.append(source)
            say(LABEL, f"left out {source}: {reason}")
            continue
        pixels = colorized(photo.pixels, colorizer, colorizer.size, colorizer.multiple)
        write_bytes(target, photos.write(photo._replace(pixels=pixels), target))
        progress.update(index + 1)
    done = len(found.pairs) - len(broken)
    if not done:
        raise InputError(f"input: not one of {len(broken)} files is an image; first: {broken[0]}.")
    left = f", {len(broken)} left out: no images" if broken else ""
    say(LABEL, f"{done} picture{'s' * (done > 1)} coloured{left}: {found.target}")
