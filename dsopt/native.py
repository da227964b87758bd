"""Small pieces of C, compiled where they run, for its very processor; where there is no compiler, callers do without."""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

# Sums may be taken in any order, which vectors need; infinities and NaN stay what they are, so that a run that diverges is seen.
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
    """What `source` is compiled to with these macros, kept in the user's cache; None without a compiler (`CC`, or `cc`)."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        return None
    command = [*compiler, *FLAGS, *(f"-D{name}={value}" for name, value in macros.items())]
    try:
        built = _cache() / f"{source.stem}-{_key(compiler, command, source)}.so"
        if not built.exists():
            with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
                made = Path(scratch) / built.name
                subprocess.run([*command, "-o", made, source], check=True, capture_output=True)
                made.replace(built)  # whole or not at all, whoever else compiles it just now
        return ctypes.CDLL(str(built))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:  # RuntimeError: there is no home
        reason = getattr(error, "stderr", None) or str(error).encode()
        warnings.warn(f"{source.name} does without {compiler[0]}: {reason.decode(errors='replace').strip()}", stacklevel=2)
        return None


def _key(compiler: list[str], command: list[str], source: Path) -> str:
    """Changes with the source, the compiler and the processor: homes are shared by machines that differ."""
    macros = subprocess.run([*compiler, "-march=native", "-dM", "-E", "-x", "c", os.devnull], check=True, capture_output=True)
    return hashlib.sha256(b"\0".join([*map(str.encode, command), source.read_bytes(), macros.stdout])).hexdigest()[:16]


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsopt" / "native"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
