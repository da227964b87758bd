"""The wheel, built from the repository's files and installed in an empty environment, has all that the command needs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from running import REPOSITORY, SMALL

TINY = (*SMALL, "cluster.workers=0", "autoencoder.steps=2", "train.steps=2")


def done(command: Sequence[str | Path], cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if not (REPOSITORY / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git checkout")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in files if name and (REPOSITORY / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files that a clone would have, without those that lie about here."""
    clone = tmp_path_factory.mktemp("clone")
    for name in tracked:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, clone / name)
    done([sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist"], clone)
    (built,) = (clone / "dist").glob("dsopt-*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel: Path, tracked: list[str]) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if ".dist-info/" not in name} == {name for name in tracked if name.startswith("dsopt/")}
    assert {
        "dsopt/jobs/optimize/job.py",
        "dsopt/presets/demo.yaml",
        "dsopt/presets/studies/study_split.yaml",
        "dsopt/models/pooled.c",
    } <= set(names)


@pytest.mark.long
@pytest.mark.slow
def test_the_command_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment, found through a .pth file: installing them again would take minutes."""
    env, here = tmp_path / "env", tmp_path / "elsewhere"
    here.mkdir()
    done([sys.executable, "-m", "venv", "--without-pip", env], here)
    python = env / "bin" / "python"
    done([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel], here)
    # Only now, lest pip takes the dsopt of this environment for an older one. A .pth file that this names is not read, so
    # that the editable installation stays out of sight.
    (site,) = env.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert done([python, "-c", "import dsopt; print(dsopt.__file__)"], here).startswith(str(site))
    output = done([env / "bin" / "dsopt", "optimize", "preset=demo", *TINY], here)
    report = Path(output.splitlines()[-1].split()[-1])
    assert report.is_file() and report.is_relative_to(here / "runs")
    assert "  demo " in done([python, "-m", "dsopt", "help", "presets"], here)
