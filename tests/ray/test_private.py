"""What is private in Ray and used here is where it was; and where it is not, what is public does."""

import importlib
from types import ModuleType
from typing import Any

import pytest
import ray

from dsopt.cluster import local, private

NAMES = [(function, name) for function, names in private.NAMES.items() for name in names]


def owner_of(name: str) -> tuple[Any, str]:
    """The module or class that has a dotted name, and the last part of it. Raises if there is none."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:-1]:
            found = getattr(found, part)
        getattr(found, parts[-1])
        return found, parts[-1]
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize(("function", "name"), NAMES)
def test_ray_still_has(function: str, name: str) -> None:
    try:
        owner_of(name)
    except (AttributeError, ModuleNotFoundError):
        pytest.fail(
            f"Ray {ray.__version__} has moved {name}. dsopt.cluster.private.{function} does without it, and runs are slower by "
            f"what its docstring says: find the new name, or remove the function."
        )


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


REPLACED = private.NAMES["patch_ray_data"][:5]


@pytest.mark.parametrize("missing", REPLACED)
def test_ray_data_stays_as_it_is_where_a_name_was_moved(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    patched = [owner_of(name) for name in REPLACED]
    for owner, name in patched:  # so that everything is undone
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.delattr(*owner_of(missing))
    before = [vars(owner).get(name) for owner, name in patched]
    private.patch_ray_data.__wrapped__(lambda: True)
    assert [vars(owner).get(name) for owner, name in patched] == before


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


@pytest.mark.ray
@pytest.mark.slow
def test_a_ray_started_here_is_our_own(ray_local: ModuleType) -> None:
    assert local.is_own()
