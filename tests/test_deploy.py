"""What can be known about the files of `deploy/` without a cluster: their structure, and what the project promises."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from dsopt import config as configuration
from dsopt.jobs.job import described

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RAY = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
CLUSTER, JOB = yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text())
HEAD, WORKERS = CLUSTER["spec"]["headGroupSpec"], CLUSTER["spec"]["workerGroupSpecs"]
PODS = {group.get("groupName", "head"): group["template"]["spec"] for group in (HEAD, *WORKERS)}


def steps() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, with their lines joined and without comments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())]


def test_images_are_built_on_the_ray_and_a_python_of_the_project() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    bases = re.findall(r"rayproject/ray:(\S+?)-py3(\d+)-(\S+)", text)
    assert {base[2] for base in bases} == {"cpu", "cu128"} and len({base[:2] for base in bases}) == 1
    assert bases[0][0] == RAY and SpecifierSet(PROJECT["requires-python"]).contains(f"3.{bases[0][1]}")
    others = "".join((ROOT / name).read_text() for name in ("cluster.yaml", "docs/cluster.md"))
    assert set(re.findall(r"rayproject/ray:(\S+?)-py3", others)) == {RAY}


def test_the_dockerfile_is_one() -> None:
    found = steps()
    assert [word for word, _ in found[:2]] == ["ARG", "FROM"] and found[1][1] == "${BASE}"
    assert {word for word, _ in found} <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "USER"}
    assert found[-1] == ("USER", "1000")  # not root


def test_the_dockerfile_copies_what_is_there_and_what_is_not_ignored() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    sent = {name.removeprefix("!") for name in ignored if name.startswith("!")}
    for word, rest in steps():
        if word == "COPY":
            for name in [part for part in shlex.split(rest) if not part.startswith("--")][:-1]:
                assert (ROOT / name).exists() and name.split("/")[0] in sent, name


def test_the_dockerfile_installs_pinned_versions_before_the_code_comes() -> None:
    """Else every change of the code would mean 6 GB of dependencies anew."""
    order = [rest for word, rest in steps() if word in ("COPY", "RUN")]
    pinned = next(i for i, rest in enumerate(order) if "pip install" in rest and "-c constraints.txt" in rest)
    assert all("--no-cache-dir" in rest for rest in order if "pip install" in rest)
    assert not [rest for rest in order[:pinned] if re.search(r" dsopt dsopt$", rest)]
    assert "--no-deps" in order[-1]


def test_the_kubernetes_files_say_what_kuberay_asks_for() -> None:
    """Its own validation, of version 1.6, and the fields of its reference that are used here."""
    assert (CLUSTER["apiVersion"], CLUSTER["kind"], JOB["kind"]) == ("ray.io/v1", "RayCluster", "RayJob")
    fields = {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
    assert set(CLUSTER["spec"]) == fields and set(JOB["spec"]) == {"clusterSelector", "entrypoint"}
    assert JOB["spec"]["clusterSelector"] == {"ray.io/cluster": CLUSTER["metadata"]["name"]}
    assert CLUSTER["spec"]["rayVersion"] == RAY  # as in the images, or tasks and drivers do not understand each other


def test_the_token_is_a_secret() -> None:
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token", "secretName": "dsopt-token"}
    text = (DEPLOY / "kuberay.yaml").read_text()
    assert "create secret generic dsopt-token --from-literal=auth_token=" in text
    assert not re.search(r"AKIA|ASIA|SECRET_ACCESS_KEY|kind: Secret", text)


def test_the_head_does_no_work_and_workers_come_when_asked_for() -> None:
    assert HEAD["rayStartParams"] == {"num-cpus": "0"} and HEAD["serviceType"] == "ClusterIP"
    assert CLUSTER["spec"]["enableInTreeAutoscaling"] is True
    for group in WORKERS:
        assert (group["replicas"], group["minReplicas"]) == (0, 0) and group["maxReplicas"] > 0, group["groupName"]


@pytest.mark.parametrize("name", PODS)
def test_every_pod_has_its_memory_limited_and_a_place_for_decoded_images(name: str) -> None:
    pod: dict[str, Any] = PODS[name]
    (container,) = pod["containers"]
    resources = container["resources"]
    assert re.fullmatch(r"\d+Gi", resources["limits"]["memory"]) and resources["requests"] == resources["limits"]
    folders = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (volume,) = pod["volumes"]
    assert re.fullmatch(r"\d+Gi", volume["emptyDir"]["sizeLimit"])
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert variables["TMPDIR"] == folders[volume["name"]]
    gpus = resources["limits"].get("nvidia.com/gpu")
    assert (gpus, container["image"].rpartition(":")[2]) == (("1", "cu128") if name == "gpu" else (None, "cpu"))


@pytest.mark.parametrize("command", [JOB["spec"]["entrypoint"], yaml.safe_load((DEPLOY / "sky.yaml").read_text())["run"]])
def test_the_jobs_are_ones(command: str) -> None:
    program, job, *overrides = shlex.split(command.replace("$BUCKET", "s3://bucket").replace("$SKYPILOT_NUM_GPUS_PER_NODE", "1"))
    assert program == "dsopt" and job in described()
    configuration.load(overrides)


def test_the_sky_file_is_short() -> None:
    text = (DEPLOY / "sky.yaml").read_text()
    assert len(text.splitlines()) <= 10 and yaml.safe_load(text)["setup"] == "pip install -c constraints.txt ."
