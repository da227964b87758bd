"""What can be known about `cluster.yaml` without a cloud: Ray accepts it, and it says what the project promises."""

import copy
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from packaging.specifiers import SpecifierSet
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()
CONFIG: dict[str, Any] = yaml.safe_load(TEXT)
TYPES: dict[str, dict[str, Any]] = CONFIG["available_node_types"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def images() -> list[str]:
    named = [CONFIG["docker"].get(key) for key in ("image", "head_image", "worker_image")]
    return [image for image in [*named, *(t.get("docker", {}).get("worker_image") for t in TYPES.values())] if image]


def prepared() -> dict[str, Any]:
    return prepare_config(copy.deepcopy(CONFIG))


def test_ray_accepts_it() -> None:
    validate_config(prepared())


@pytest.mark.parametrize("wrong", [{"max_wrkers": 1}, {"head_node_type": "none"}, {"docker": {"image": "x"}}])
def test_ray_would_tell_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r".+"):
        validate_config(prepare_config({**copy.deepcopy(CONFIG), **wrong}))


@pytest.mark.parametrize("name", TYPES)
def test_workers_scale_from_none(name: str) -> None:
    if name == CONFIG["head_node_type"]:
        assert TYPES[name]["resources"] == {"CPU": 0}
        return
    assert 0 == TYPES[name]["min_workers"] <= TYPES[name]["max_workers"] <= CONFIG["max_workers"]
    assert TYPES[name]["resources"] == {}


def test_there_are_gpu_spot_workers_and_cpu_workers_and_they_leave() -> None:
    assert {"head", "gpu-spot", "gpu", "cpu"} == set(TYPES)
    assert TYPES["gpu-spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert TYPES["gpu-spot"]["max_workers"] > 0
    assert TYPES["cpu"]["max_workers"] > 0
    assert 0 < CONFIG["idle_timeout_minutes"] <= 15


def test_the_images_have_the_ray_and_a_python_of_the_project() -> None:
    assert f"ray[default,train,tune,data]=={ray.__version__}" in PROJECT["dependencies"]
    pythons = set()
    for image in images():
        found = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)-py3(\d\d)-(cpu|cu\d{3})", image)
        assert found, image
        assert found[1] == ray.__version__
        assert SpecifierSet(PROJECT["requires-python"]).contains(f"3.{found[2]}")
        pythons.add(found[2])
    assert len(pythons) == 1
    assert CONFIG["docker"]["image"].rpartition("-")[2].startswith("cu")
    assert CONFIG["docker"]["head_image"].endswith("-cpu")
    assert TYPES["cpu"]["docker"]["worker_image"].endswith("-cpu")


def test_no_port_is_open_to_the_world() -> None:
    assert "0.0.0.0" not in TEXT
    assert "::/0" not in TEXT
    commands = prepared()["head_start_ray_commands"] + prepared()["worker_start_ray_commands"]
    assert not [command for command in commands if "0.0.0.0" in command]  # Ray's own defaults have it
    assert any("--dashboard-host=127.0.0.1" in command for command in commands)
    for name, node_type in TYPES.items():  # without a group Ray makes one, with port 22 open to all
        assert node_type["node_config"]["SecurityGroupIds"], name
    assert "--env RAY_AUTH_MODE=token" in CONFIG["docker"]["run_options"]
    assert "/home/ray/.ray/auth_token" in CONFIG["file_mounts"]


def test_no_credentials_are_in_it() -> None:
    assert not re.search(r"AKIA|ASIA|aws_(access|secret)|AWS_(ACCESS|SECRET)|AUTH_TOKEN=", TEXT)
    for name, node_type in TYPES.items():
        assert node_type["node_config"]["IamInstanceProfile"]["Name"], name


def test_every_file_it_names_is_there() -> None:
    mounts = {remote: local for remote, local in CONFIG["file_mounts"].items() if not local.startswith("~")}
    for local in [*mounts.values(), *CONFIG["rsync_filter"]]:
        assert (ROOT / local).exists(), local
    commands = [*CONFIG["setup_commands"], *CONFIG["head_setup_commands"], *CONFIG["worker_setup_commands"]]
    used = [word for command in commands for word in shlex.split(command) if word.startswith("/")]
    assert used
    for word in used:
        remote = next(remote for remote in mounts if word.startswith(remote))
        assert (ROOT / mounts[remote] / word.removeprefix(remote).lstrip("/")).exists(), word


def test_the_installation_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert f"\nray=={ray.__version__}\n" in pins
    assert any("-c /home/ray/dsopt/constraints.txt" in command for command in CONFIG["setup_commands"])
