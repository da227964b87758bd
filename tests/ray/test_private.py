"""What is private in Ray and used here is where it was; and where it is not, what is public does."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import ray
from running import REPOSITORY, owner_of, ray_has

from dsopt.cluster import local, private

PINNED = Path(REPOSITORY, "constraints.txt").read_text().partition("\nray==")[2].split()[:1]
NAMES = [(function, name) for function, names in private.NAMES.items() for name in names]


@pytest.mark.parametrize(("function", "name"), NAMES)
def test_ray_still_has(function: str, name: str) -> None:
    if not ray_has(name):
        told = f"Ray {ray.__version__} has moved {name}: dsopt.cluster.private.{function} says what it costs to do without it."
        if ray.__version__ not in PINNED:
            pytest.skip(told)
        pytest.fail(f"{told} Find the new name, or remove the function.")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Instead of starting Ray: the class of its node, at each attempt."""
    from ray._private import node

    attempts: list[str] = []
    monkeypatch.setattr(local, "_own", None)
    monkeypatch.setattr(local, "init", lambda **options: attempts.append(node.Node.__name__))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: type("Context", (), {"gcs_address": "here"}))
    return attempts


def test_a_start_with_few_processes(started: list[str]) -> None:
    local.start()
    assert started == ["LeanNode"] and local._own == "here"


@pytest.mark.parametrize("name", ["get_dashboard_dependency_error", "Node"])
def test_a_start_where_names_were_moved(started: list[str], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from ray._private import node, utils

    if name == "Node":
        monkeypatch.setattr(private, "_lean_node", lambda: node.NoSuchNode)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        monkeypatch.delattr(utils, name)
    local.start()
    assert started == ["Node"] and local._own == "here"


def test_a_start_that_fails_is_tried_again_as_ray_does_it(monkeypatch: pytest.MonkeyPatch, started: list[str]) -> None:
    from ray._private import node

    def init(**options: Any) -> None:
        started.append(node.Node.__name__)
        if len(started) == 1:
            raise RuntimeError("an argument of Node was moved")

    monkeypatch.setattr(local, "init", init)
    local.start()
    assert started == ["LeanNode", "Node"]


REPLACED = {name: part for part in ("_statistics", "_actor_locations", "_autoscaling") for name in private.NAMES[part]}


@pytest.mark.parametrize("missing", [name for name in REPLACED if not name.endswith(("try_trigger_scaling", "_dict"))])
def test_ray_data_stays_as_it_is_where_a_name_was_moved(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    there = {name: owner_of(name) for name in REPLACED if ray_has(name)}
    for owner, name in there.values():  # so that everything is undone
        monkeypatch.setattr(owner, name, getattr(owner, name))
    before = {name: getattr(*found) for name, found in there.items()}
    if missing in there:
        monkeypatch.delattr(*there.pop(missing))
    private.patch_ray_data.__wrapped__(lambda: True)
    replaced = {REPLACED[name] for name, found in there.items() if getattr(*found) is not before[name]}
    whole = {part for part in REPLACED.values() if all(name in there for name in private.NAMES[part])}
    assert replaced == whole and REPLACED[missing] not in replaced


def test_ray_datas_own_is_called_where_the_substitute_fails() -> None:
    def of_ray(number: int) -> str:
        return f"of Ray, {number}"

    def fails(number: int, more: int) -> str:
        return "ours"

    assert private._replaced(of_ray, lambda number: "ours", lambda: True)(3) == "ours"
    assert private._replaced(of_ray, lambda number: "ours", lambda: False)(3) == "of Ray, 3"
    assert private._replaced(of_ray, fails, lambda: True)(3) == "of Ray, 3"


def test_ray_trains_own_trainer_where_a_name_was_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks import datasets

    assert private.trainer() is not TorchTrainer and issubclass(private.trainer(), TorchTrainer)
    monkeypatch.delattr(datasets, "DatasetsCallback")
    assert private.trainer() is TorchTrainer


def test_nodes_that_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.state import GlobalState
    from ray.core.generated.common_pb2 import NodeDeathInfo  # pyright: ignore[reportAttributeAccessIssue]

    def node(name: str, alive: bool, reason: int) -> dict[str, Any]:
        return {"NodeID": name, "Alive": alive, "DeathReason": reason}

    there = [node("lives", True, 0), node("failed", False, NodeDeathInfo.UNEXPECTED_TERMINATION)]
    there += [node("taken", False, NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED)]
    monkeypatch.setattr(ray, "nodes", lambda: there)
    monkeypatch.setattr(GlobalState, "get_draining_nodes", lambda self: {"drains": 0})
    assert private.nodes_taken_away() == {"taken", "drains"}
    monkeypatch.delattr(GlobalState, "get_draining_nodes")
    assert private.nodes_taken_away() == {"taken"}  # later, once Ray says so
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "taken", "Alive": False}])
    assert private.nodes_taken_away() == set()


@pytest.mark.ray
@pytest.mark.slow
def test_a_ray_started_here_is_our_own(ray_local: ModuleType) -> None:
    assert local.is_own()
