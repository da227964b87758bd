"""What can be known about `cluster.yaml` without a cloud: Ray accepts it, and it says what the project promises."""

import copy
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.dashboard.modules.job.cli import submit as job_submit
from ray.scripts.scripts import start as ray_start

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()
CONFIG: dict[str, Any] = yaml.safe_load(TEXT)
TYPES: dict[str, dict[str, Any]] = CONFIG["available_node_types"]


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


def test_gpu_workers_have_the_gpu_image_and_all_else_the_other() -> None:
    assert CONFIG["docker"]["image"].endswith("/dsopt:cu128") and CONFIG["docker"]["head_image"].endswith("/dsopt:cpu")
    assert [name for name in TYPES if "docker" in TYPES[name]] == ["cpu"]
    assert TYPES["cpu"]["docker"]["worker_image"] == CONFIG["docker"]["head_image"]


def test_decoded_images_and_spilled_objects_go_to_the_local_disk() -> None:
    options = " ".join(CONFIG["docker"]["run_options"])
    assert "--volume /scratch:/scratch" in options and "--env TMPDIR=/scratch" in options
    assert any("Instance Storage" in command and "/scratch" in command for command in CONFIG["initialization_commands"])
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "--object-spilling-directory=/scratch" in CONFIG[commands][-1]


@pytest.mark.parametrize("commands", ["initialization_commands", "head_start_ray_commands", "worker_start_ray_commands"])
def test_its_commands_are_of_the_shell_and_of_ray(commands: str) -> None:
    known = {option for parameter in ray_start.params for option in parameter.opts}
    for command in CONFIG[commands]:
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0, command
        given = [word.partition("=")[0] for word in shlex.split(command) if word.startswith("--")]
        assert not command.startswith("ray start") or set(given) <= known


def test_the_head_can_hold_drivers_and_they_stay_on_it() -> None:
    """Ray puts a job that reserves memory on any node, unless a resource is named that only the head has."""
    (submit,) = re.findall(r"ray job submit (.+?) --working-dir", TEXT)
    for text in (submit, (ROOT / "README.md").read_text(), (ROOT / "docs" / "cluster.md").read_text()):
        assert "--entrypoint-memory" in text and "node:__internal_head__" in text
    options = dict(zip((words := shlex.split(submit))[::2], words[1::2], strict=True))
    assert json.loads(options["--entrypoint-resources"]).keys() == {HEAD_NODE_RESOURCE_NAME}
    assert set(options) <= {option for parameter in job_submit.params for option in parameter.opts}


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
    for local in CONFIG["file_mounts"].values():
        assert local.startswith("~") or (ROOT / local).exists(), local
    for name in re.findall(r"\b(?:deploy|docs|jobs)/[\w.]+\w", TEXT):
        assert (ROOT / name).exists(), name
