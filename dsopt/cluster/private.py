"""All that is private in Ray and used here: it saves seconds on one machine, and excuses machines that the cloud takes away.

Each function falls back to Ray's public ways on any exception, so with a Ray that has moved a name runs are slower, or such
machines are counted as lost workers; nothing is broken. `NAMES` says what is used, for the test that tells what was moved.
"""

import functools
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import patch

NAMES = {
    "fewer_processes": (
        "ray._private.node.Node.start_api_server",
        "ray._private.node.Node.start_ray_processes",
        "ray._private.utils.get_dashboard_dependency_error",
        "ray._private.parameter.RayParams.update",
    ),
    "_statistics": (
        "ray.data._internal.stats.get_or_create_stats_actor",
        "ray.data._internal.stats._StatsManager.gen_dataset_id_from_stats_actor",
    ),
    "_actor_locations": (
        "ray.data._internal.execution.operators.actor_pool_map_operator.get_or_create_actor_location_tracker",
        "ray.data._internal.execution.operators.actor_pool_map_operator.get_actor_locations",
    ),
    "_autoscaling": (
        "ray.data._internal.execution.streaming_executor.create_cluster_autoscaler",
        "ray.data._internal.cluster_autoscaler.ClusterAutoscaler.try_trigger_scaling",
        "ray.data._internal.execution.interfaces.ExecutionResources.from_resource_dict",
    ),
    "trainer": (
        "ray.train.torch.TorchTrainer._register_sigint_handler",
        "ray.train.torch.TorchTrainer._create_default_callbacks",
        "ray.train.v2._internal.callbacks.datasets.DatasetsCallback",
    ),
    "nodes_taken_away": (
        "ray._private.state.GlobalState.get_draining_nodes",
        "ray.core.generated.common_pb2.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED",
    ),
}


@contextmanager
def fewer_processes() -> Iterator[None]:
    """While Ray starts: without the autoscaler monitor, the dashboard server, the log monitor and most of the dashboard agent.

    Ray has no options for this. A start takes 4.2 s of CPU time instead of 7.3 s, and the log monitor alone uses 2.5 % of a CPU
    even when idle. Without them: the public `include_dashboard=False`.
    """
    with ExitStack() as patches:
        try:
            from ray._private import node, utils

            patches.enter_context(patch.object(node, "Node", _lean_node()))
            # Makes Ray start the small agent of an installation without dashboard: 0.5 s less in this process alone.
            error = ImportError("not wanted")
            patches.enter_context(patch.object(utils, "get_dashboard_dependency_error", lambda: error))
        except Exception:
            patches.close()
        yield


def _lean_node() -> type:
    from ray._private import node

    class LeanNode(node.Node):
        def __init__(self, ray_params: Any, **kwargs: Any) -> None:
            # Agent port 0: any free port. With the default one, a second Ray on the same machine waits 3 s for it.
            ray_params.update(no_monitor=True, include_log_monitor=False, dashboard_agent_listen_port=0)
            super().__init__(ray_params, **kwargs)

        def start_api_server(self, **kwargs: Any) -> None:
            """Start no dashboard."""

        def start_ray_processes(self) -> None:
            super().start_ray_processes()
            import ray.data  # noqa: F401  # imported while the started processes come up, which takes about as long

    return LeanNode


@functools.cache
def patch_ray_data(is_own: Callable[[], bool]) -> None:
    """Make Ray Data run without its three helper actors (statistics, autoscaling, actor locations) while `is_own()`.

    Each actor is a process that must import Ray Data before the work can begin: without them, embedding 500 images takes 9 s
    instead of 12.5 s. None is needed: one machine does not autoscale, and all actors are on the same node.
    """
    for part in (_statistics, _actor_locations, _autoscaling):
        try:
            functions = [(owner, name, substitute, getattr(owner, name)) for owner, name, substitute in part()]
        except Exception:
            continue
        for owner, name, substitute, original in functions:
            setattr(owner, name, _replaced(original, substitute, is_own))


Functions = list[tuple[Any, str, Callable[..., Any]]]  # module or class, name in it, what is called instead


def _statistics() -> Functions:
    from ray.data._internal import stats

    manager = stats._StatsManager
    return [
        (stats, "get_or_create_stats_actor", NoActor),
        (manager, "gen_dataset_id_from_stats_actor", lambda: uuid.uuid4().hex),
    ]


def _actor_locations() -> Functions:
    from ray.data._internal.execution.operators import actor_pool_map_operator as pool

    return [(pool, "get_or_create_actor_location_tracker", NoActor), (pool, "get_actor_locations", lambda _: {})]


def _autoscaling() -> Functions:
    """An autoscaler for a cluster that stays as it is."""
    import ray
    from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
    from ray.data._internal.execution import streaming_executor
    from ray.data._internal.execution.interfaces import ExecutionResources

    class FixedCluster(ClusterAutoscaler):
        def __init__(self, *_: Any, **__: Any) -> None:
            self.total = ExecutionResources.from_resource_dict(ray.cluster_resources())  # pyright: ignore[reportArgumentType]

        def try_trigger_scaling(self) -> None:
            """Do nothing."""

        def on_executor_shutdown(self) -> None:
            """Do nothing."""

        def get_total_resources(self) -> ExecutionResources:
            return self.total

    return [(streaming_executor, "create_cluster_autoscaler", FixedCluster)]


def _replaced(original: Callable[..., Any], substitute: Callable[..., Any], is_own: Callable[[], bool]) -> Callable[..., Any]:
    """`substitute` in place of a function of Ray while `is_own()`, unless it fails.

    The patch is permanent, not a context: data sets in several threads may use the function at the same time.
    """

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_own():
            try:
                return substitute(*args, **kwargs)
            except Exception:  # what Ray calls it with has changed, or what a cluster's autoscaler must have
                pass
        return original(*args, **kwargs)

    return call


class NoActor:
    """Stands in for an actor handle: any `actor.method.remote(...)` does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def remote(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


def trainer() -> Any:
    """A TorchTrainer without two defaults, or the public one.

    It starts no process for Ray Data shards, since no data set is passed to it (saves 4 s of CPU time per worker group). It
    installs no SIGINT handler: Ray Train's would first call its controller, which does not answer while it waits for resources;
    the job handles interruptions itself.
    """
    from ray.train.torch import TorchTrainer

    try:
        from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    except Exception:
        return TorchTrainer

    class Trainer(TorchTrainer):
        def _register_sigint_handler(self, controller: Any) -> None:
            """Do nothing."""

        def _create_default_callbacks(self) -> list[Any]:
            return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, DatasetsCallback)]

    return Trainer


def nodes_taken_away() -> set[str]:
    """Ids of the nodes that a cloud takes away with a notice (`ray drain-node`): those that drain, and those that ended after it.

    Ray's public ways tell neither. A node drains for being idle, too; but then nothing runs on it. Without them: none.
    """
    found: set[str] = set()
    for part in (_draining, _preempted):
        with suppress(Exception):
            found.update(part())
    return found


def _draining() -> Iterable[str]:
    from ray._private.state import state

    return state.get_draining_nodes()


def _preempted() -> Iterable[str]:
    import ray
    from ray.core.generated import common_pb2

    reason = common_pb2.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED  # pyright: ignore[reportAttributeAccessIssue]
    return [node["NodeID"] for node in ray.nodes() if not node["Alive"] and node["DeathReason"] == reason]
