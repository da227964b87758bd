"""Photographs of a file or a folder, colored by a finished colorizer and written beside each other."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count

from dsopt.data import photos
from dsopt.data.pixels import Unusable
from dsopt.data.sources.listing import list_folder
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
    dead: tuple[str, ...] = ()  # links to nowhere


def paths(source: str, target: str | None) -> Paths:
    """A file and its colored one, or all files below a folder and theirs, of the same names; hidden ones are left out.

    What lies below the target is no photograph to be colored: the target may be in the source.

    Raises:
        InputError: nothing there, no target, or one that is the source.
    """
    if not target:
        raise InputError("output: must say where the colored pictures go; expected for example output=colored.png.")
    given, wanted = absolute(source), absolute(target)
    if _same(given, wanted):
        raise InputError(f"output={target}: is the input itself, which would be lost; give another name.")
    files = [join(given, file.name) for file in list_folder(given)]
    files = [file for file in files if not file.startswith(wanted + "/")]
    if files:
        names = names_of([file[len(given) :] for file in files])
        return Paths([(file, wanted + names[file[len(given) :]]) for file in files], wanted, True, _dead_links(given))
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


def names_of(files: Sequence[str]) -> dict[str, str]:
    """The name of the output of each file: its own where its format is written, else one that no other has on any system."""
    names = {file: file for file in files if photos.written_name(file) == file}
    taken = set(map(_alike, names))
    for file in files:
        if file not in names:
            plain = photos.written_name(file)
            stem, dot, suffix = plain.rpartition(".")
            tried = chain([plain], (f"{stem}-{number}{dot}{suffix}" for number in count(2)))
            names[file] = next(name for name in tried if _alike(name) not in taken)
            taken.add(_alike(names[file]))
    return names


def _alike(name: str) -> str:
    """What is the same for names that Windows or macOS takes for one."""
    return unicodedata.normalize("NFC", name).casefold()


def _dead_links(folder: str) -> tuple[str, ...]:
    """The links below a local folder that lead nowhere: no listing has them."""
    if is_remote(folder):
        return ()
    found = (os.path.join(top, name) for top, _, names in os.walk(folder) for name in names)
    return tuple(sorted(path for path in found if os.path.islink(path) and not os.path.exists(path)))


def _same(one: str, other: str) -> bool:
    if is_remote(one) or is_remote(other):
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)


def color(found: Paths, colorizer: Colorizer) -> None:
    """Color and write each. Raises InputError if not one of them is an image."""
    progress, broken = Progress(LABEL, len(found.pairs), "pictures"), list(found.dead)
    for link in found.dead:
        say(LABEL, f"left out {link}: a link to a file that does not exist")
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
        written = photos.write(photo._replace(pixels=pixels), target)
        write_bytes(target, written.data)
        if lost := (*photo.lost, *written.lost):
            say(LABEL, f"not kept of {source}: {', '.join(lost)}")
        progress.update(index + 1)
    done = len(found.pairs) + len(found.dead) - len(broken)
    if not done:
        raise InputError(f"input: not one of {len(broken)} files is an image; first: {broken[0]}.")
    left = f", {len(broken)} left out: no images" if broken else ""
    say(LABEL, f"{done} picture{'s' * (done > 1)} colored{left}: {found.target}")
