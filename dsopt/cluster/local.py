"""A Ray on this machine for one process alone, without those of its processes that nobody asks anything here.

Ray has no options for this: it is done to what stands behind, in the version that we pin.
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
    """`ray.init` without the autoscaler's monitor, the dashboard's server, the monitor of workers' logs and most of the agent.

    The monitor of logs takes 2.5 % of a CPU even when idle. The agent's port is any free one: for the usual one a second Ray on a
    machine waits 3 s. A start takes 4.2 instead of 7.3 s of processors.
    """
    from ray._private import node, utils

    with (
        patch.object(node, "Node", _lean()),
        # The agent of a Ray that was installed without a dashboard: half a second less in this process alone.
        patch.object(utils, "get_dashboard_dependency_error", lambda: ImportError("not wanted")),
    ):
        init(address="local", include_dashboard=False, **options)


@functools.cache
def _lean() -> type:
    from ray._private import node

    class Lean(node.Node):
        def __init__(self, ray_params: Any, **given: Any) -> None:
            ray_params.update(no_monitor=True, include_log_monitor=False, dashboard_agent_listen_port=0)
            super().__init__(ray_params, **given)

        def start_api_server(self, **given: Any) -> None:
            """None."""

        def start_ray_processes(self) -> None:
            super().start_ray_processes()
            import ray.data  # noqa: F401  # takes as long as these need to answer

    return Lean


def init(**options: Any) -> None:
    """`ray.init`, silently: errors are exceptions."""
    import ray

    with _no_native_output():
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)


@contextmanager
def _no_native_output() -> Iterator[None]:
    """Without what C++ writes to the standard error, such as that it obeys RAY_BACKEND_LOG_LEVEL."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def ours() -> bool:
    """Whether this process is connected to a Ray of `start`: it has all that it will ever have, where a cluster may grow."""
    from ray._private import worker

    return isinstance(worker._global_node, _lean())


@functools.cache
def spare_data() -> None:
    """From now on, Ray Data on a Ray of `start` does without its three actors: statistics, autoscaling, places of other actors.

    Each is a process that imports Ray Data before anything else can begin; embedding 500 images takes 9 instead of 12.5 s. The
    cluster of one machine does not grow, and all actors are in the same place: where they were last seen is right.
    """
    import ray
    from ray.data._internal import stats
    from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
    from ray.data._internal.execution import streaming_executor
    from ray.data._internal.execution.interfaces import ExecutionResources
    from ray.data._internal.execution.operators import actor_pool_map_operator as pool

    class Fixed(ClusterAutoscaler):
        def __init__(self, *_: Any, **__: Any) -> None:
            self.total = ExecutionResources.from_resource_dict(ray.cluster_resources())  # pyright: ignore[reportArgumentType]

        def try_trigger_scaling(self) -> None:
            """None."""

        def on_executor_shutdown(self) -> None:
            """None."""

        def get_total_resources(self) -> ExecutionResources:
            return self.total

    _instead(stats, "get_or_create_stats_actor", NoActor)
    _instead(stats._StatsManager, "gen_dataset_id_from_stats_actor", lambda: uuid.uuid4().hex)
    _instead(pool, "get_or_create_actor_location_tracker", NoActor)
    _instead(pool, "get_actor_locations", lambda _: {})
    _instead(streaming_executor, "create_cluster_autoscaler", Fixed)


def _instead(owner: Any, name: str, spared: Callable[..., Any]) -> None:
    """Replace a function where Ray is one of `start`: for good, since data sets of several threads may use it at once."""
    theirs = getattr(owner, name)

    @functools.wraps(theirs)
    def chosen(*arguments: Any, **named: Any) -> Any:
        return (spared if ours() else theirs)(*arguments, **named)

    setattr(owner, name, chosen)


class NoActor:
    """What is told to it is not kept."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def remote(self, *_: Any, **__: Any) -> None:
        """None."""
