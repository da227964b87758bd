"""Small C libraries, compiled for the processor on which they run; optional: without a compiler, callers use torch."""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

# The parts of -ffast-math that let the compiler vectorize sums, by reordering them. Not -ffinite-math-only: infinities and NaN must
# be kept, so that a diverged run is noticed.
FLAGS = [
    "-O3",
    "-march=native",
    "-shared",
    "-fPIC",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
]


def library(source: Path, **macros: int | str) -> ctypes.CDLL | None:
    """The library compiled from `source` with these macros, cached in the user's cache; None without a compiler (`CC`, or `cc`)."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        return None
    command = [*compiler, *FLAGS, *(f"-D{name}={value}" for name, value in macros.items())]
    try:
        built = _cache() / f"{source.stem}-{_key(compiler, command, source)}.so"
        if not built.exists():
            with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
                output = Path(scratch) / built.name
                subprocess.run([*command, "-o", output, source], check=True, capture_output=True)
                output.replace(built)  # atomic: other processes may compile the same file at the same time
        return ctypes.CDLL(str(built))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:  # RuntimeError: there is no home directory
        reason = getattr(error, "stderr", None) or str(error).encode()
        warnings.warn(
            f"{source.name} is not compiled by {compiler[0]}: {reason.decode(errors='replace').strip()}",
            stacklevel=2,
        )
        return None


def _key(compiler: list[str], command: list[str], source: Path) -> str:
    """A hash of the source, the compiler and the processor: different machines may share a home directory."""
    # The predefined macros with -march=native name the processor's instruction sets and the compiler's version.
    macros = subprocess.run([*compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull], check=True, capture_output=True)
    return hashlib.sha256(b"\0".join([*map(str.encode, command), source.read_bytes(), macros.stdout])).hexdigest()[:16]


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsopt" / "native"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
