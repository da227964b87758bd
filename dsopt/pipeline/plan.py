"""The plan of a job: one configuration, the steps that make its stages, and its data sets, each listed once."""

from collections.abc import Callable, Mapping
from typing import Any

from dsopt.config import Config
from dsopt.pipeline.step import Check, Preview, Step, Where, Work, run
from dsopt.storage import Kind, Stage


class Plan:
    """The steps of a job, each once, by the hash of its stage.

    A planner is a function `(plan, ...) -> Stage`: it asks other planners for the inputs, and adds the step of its own stage.
    Planners return only stages: which steps lead to a stage follows from its inputs.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._steps: dict[str, Step] = {}
        self._data_sets: dict[str, Stage] = {}
        self._mentioned: set[str] = set()

    def having(self, config: Config) -> "Plan":
        """This plan under another configuration, such as a trial's or a baseline's: both share steps and data sets."""
        other = Plan(config)
        other._steps, other._data_sets, other._mentioned = self._steps, self._data_sets, self._mentioned
        return other

    def without_steps(self) -> "Plan":
        """A plan that knows the same data sets and no step: small enough to be sent to every worker."""
        other = Plan(self.config)
        other._data_sets = self._data_sets
        return other

    def add(
        self,
        kind: Kind,
        name: str,
        made_of: Mapping[str, Any],
        inputs: Mapping[str, Stage],
        work: Work,
        *,
        where: Where = "driver",
        check: Check | None = None,
        title: str = "",
        needs: Check | None = None,
        preview: Preview | None = None,
        gpus: float = 1.0,
        cpus: int | None = None,
    ) -> Stage:
        """The stage of these settings and inputs. Its step is added unless the plan has it already.

        Args:
            name: human-readable label of the stage's folder.
            made_of: everything but the inputs that determines the content, as plain values; see `dsopt.config.differing`.
            work, where, check, title, needs, preview, gpus, cpus: see `Step`.
        """
        stage = Stage(self.config.storage, kind, name, made_of, inputs)
        step = Step(stage, self.config, work, where, check, title, needs, preview, gpus, cpus)
        self._steps.setdefault(stage.hash, step)
        return stage

    def data_set(self, key: str, find: Callable[[], Stage]) -> Stage:
        """The images stage of a data set; `find` lists the data, so it is called once for each key."""
        if key not in self._data_sets:
            self._data_sets[key] = find()
        return self._data_sets[key]

    def step(self, stage: Stage) -> Step:
        """The step that makes a stage of this plan."""
        return self._steps[stage.hash]

    def run(self, *stages: Stage) -> None:
        """Make stages and all stages that they depend on, except finished ones, which are reported once."""
        run(self.to(*stages), self._mentioned)

    def attempt(self, *stages: Stage) -> dict[str, str]:
        """As `run`, but what fails ends nothing else; why stages failed, and those that need them, by hash."""
        failed: dict[str, str] = {}
        run(self.to(*stages), self._mentioned, failed)
        return failed

    def to(self, *stages: Stage) -> list[Step]:
        """The steps of stages and all that they depend on, inputs first, each once. Stages from elsewhere have no step."""
        found: dict[str, Step | None] = {}

        def visit(stage: Stage) -> None:
            if stage.hash in found:
                return
            for needed in stage.inputs.values():
                visit(needed)
            found[stage.hash] = self._steps.get(stage.hash)

        for stage in stages:
            visit(stage)
        return [step for step in found.values() if step is not None]
