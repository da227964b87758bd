"""Every package that pyproject.toml names for use is used."""

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
}


def test_every_dependency_is_named_in_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: listed for name, listed in project["optional-dependencies"].items() if name != "test"}
    code = "\n".join(path.read_text() for path in (ROOT / "dsopt").rglob("*.py"))
    for given in [*project["dependencies"], *(package for listed in extras.values() for package in listed)]:
        package = re.split(r"[\[<>=;,]", given)[0].strip()
        names = CALLED.get(package, (package.replace("-", "_"),))
        assert any(re.search(rf"\b{name}\b", code) for name in names), package
