"""The version of this package, in a module that imports nothing that takes time, and those of what a table is made with."""

import platform
from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """What made a table: Python, this package, and those whose results may change with theirs."""

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:  # the core does without Ray
            return "none"

    libraries = {name: installed(name) for name in ("torch", "ray", "pyarrow", "numpy")}
    return {"python": platform.python_version(), "dsopt": __version__} | libraries
