"""Starting a small Ray on this machine for this process alone, without the processes that a single job does not need.

Ray has no options for this. The functions below patch Ray's internals, in the version that is pinned. Everything private in Ray
that the project depends on is in this file, except the key-value store in session.py and one callback in train.py.
"""

import functools
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


def start(**options: Any) -> None:
    """`ray.init` without the autoscaler monitor, the dashboard server, the log monitor and most of the dashboard agent.

    Measured: a start takes 4.2 s of CPU time instead of 7.3 s. The log monitor alone uses 2.5 % of a CPU even when idle.
    """
    from ray._private import node, utils

    with (
        patch.object(node, "Node", _lean_node()),
        # Makes Ray start the small agent of an installation without dashboard: 0.5 s less in this process alone.
        patch.object(utils, "get_dashboard_dependency_error", lambda: ImportError("not wanted")),
    ):
        init(address="local", include_dashboard=False, **options)


@functools.cache
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


def init(**options: Any) -> None:
    """`ray.init` without output; errors are raised."""
    import ray

    with _no_native_output():
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)


@contextmanager
def _no_native_output() -> Iterator[None]:
    """Discard what Ray's C++ code writes to standard error, such as a line that it obeys RAY_BACKEND_LOG_LEVEL."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def is_own() -> bool:
    """Whether this process is connected to a Ray started by `start`: its resources are fixed, while a cluster may grow."""
    from ray._private import worker

    return isinstance(worker._global_node, _lean_node())


@functools.cache
def patch_ray_data() -> None:
    """Make Ray Data run without its three helper actors (statistics, autoscaling, actor locations) on a Ray started by `start`.

    Each actor is a process that must import Ray Data before the work can begin: without them, embedding 500 images takes 9 s
    instead of 12.5 s. None is needed: one machine does not autoscale, and all actors are on the same node.
    """
    import ray
    from ray.data._internal import stats
    from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
    from ray.data._internal.execution import streaming_executor
    from ray.data._internal.execution.interfaces import ExecutionResources
    from ray.data._internal.execution.operators import actor_pool_map_operator as pool

    class FixedCluster(ClusterAutoscaler):
        def __init__(self, *_: Any, **__: Any) -> None:
            self.total = ExecutionResources.from_resource_dict(ray.cluster_resources())  # pyright: ignore[reportArgumentType]

        def try_trigger_scaling(self) -> None:
            """Do nothing."""

        def on_executor_shutdown(self) -> None:
            """Do nothing."""

        def get_total_resources(self) -> ExecutionResources:
            return self.total

    _replace(stats, "get_or_create_stats_actor", NoActor)
    _replace(stats._StatsManager, "gen_dataset_id_from_stats_actor", lambda: uuid.uuid4().hex)
    _replace(pool, "get_or_create_actor_location_tracker", NoActor)
    _replace(pool, "get_actor_locations", lambda _: {})
    _replace(streaming_executor, "create_cluster_autoscaler", FixedCluster)


def _replace(owner: Any, name: str, substitute: Callable[..., Any]) -> None:
    """Use `substitute` in place of a function of Ray while `is_own()`.

    The patch is permanent, not a context: data sets in several threads may use the function at the same time.
    """
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (substitute if is_own() else original)(*args, **kwargs)

    setattr(owner, name, call)


class NoActor:
    """Stands in for an actor handle: any `actor.method.remote(...)` does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def remote(self, *_: Any, **__: Any) -> None:
        """Do nothing."""
