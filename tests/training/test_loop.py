"""The loop: budgets, reports, and going on as if nothing had happened."""

import io
import math
from collections.abc import Callable

import pytest
import torch
from clock import Clock
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.errors import InputError, JobError
from dsopt.learners.placement import pack, unpack
from dsopt.training.loop import Phase, State, fit

CPU = torch.device("cpu")


class Line:
    """A learner as small as can be, with momentum, so that a lost optimizer state would show."""

    device = CPU

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks: dict[str, nn.Module] = {"line": nn.Linear(3, 1)}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "line": torch.optim.SGD(self.networks["line"].parameters(), 0.05, momentum=0.9)
        }
        self.rates: list[float] = []

    def update(self, batch: Batch) -> dict[str, Tensor]:
        self.rates.append(self.optimizers["line"].param_groups[0]["lr"])
        loss = (self.networks["line"](batch.images).squeeze(1) - batch.labels).square().mean()
        self.optimizers["line"].zero_grad()
        loss.backward()
        self.optimizers["line"].step()
        return {"loss": loss.detach()}

    def state_dict(self) -> dict:
        return pack(self.networks, self.optimizers)

    def load_state_dict(self, state: dict) -> None:
        unpack(state, self.networks, self.optimizers)


class Kept:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.data: bytes | None = None

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data


def source(seed: int) -> Callable[[int], Batch]:
    def batch(step: int) -> Batch:
        images = torch.rand(8, 3, generator=torch.Generator().manual_seed(1000 * seed + step))
        return Batch(images, images.sum(1), step)

    return batch


def phases() -> list[Phase]:
    return [Phase(source(1), lambda p: 1 - p / 2, steps=7), Phase(source(2), lambda p: 0.5, steps=5)]


def weights(learner: Line) -> Tensor:
    return nn.utils.parameters_to_vector(learner.networks["line"].parameters()).detach()


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", range(1, 12))
def test_resumed_is_undisturbed(at: int) -> None:
    whole = Line()
    expected = fit(whole, phases(), report_every=1)

    def die(state: State) -> None:
        if state.total == at + 1:
            raise Killed

    kept, told = Kept(), []
    with pytest.raises(Killed):
        fit(Line(), phases(), report=die, report_every=1, checkpoint=kept, checkpoint_seconds=0.0)
    resumed = Line()
    state = fit(resumed, phases(), report_every=1, checkpoint=kept, resumed=lambda s: told.append(s.total))
    # A phase's last step is not saved by itself: the next phase's first is.
    assert told == ([at] if at != 7 else [6])
    assert torch.equal(weights(resumed), weights(whole))
    assert [(s, n, v) for s, _, _, n, v in state.rows] == [(s, n, v) for s, _, _, n, v in expected.rows]
    assert state.total == expected.total == 12 and state.seconds > 0


@pytest.mark.parametrize("every", [1, 3, 5, 100])
def test_every_step_is_in_exactly_one_report(every: int) -> None:
    each = fit(Line(), phases(), report_every=1).rows
    state = fit(Line(), phases(), report_every=every)
    assert [step for step, *_ in state.rows] == sorted({*range(every, 12, every), 7, 12})
    begun = 0
    for step, *_, value in state.rows:
        assert value == pytest.approx(sum(v for *_, v in each[begun:step]) / (step - begun), rel=1e-5)
        begun = step


@pytest.mark.parametrize("every", [0, 1, 3, 4, 6, 100])
def test_it_validates_between_steps_but_not_after_the_last(every: int) -> None:
    learner, told = Line(), []

    def validate() -> dict[str, float]:
        return {"accuracy": float(len(learner.rates))}

    def report(state: State) -> None:
        told.append((state.total, [row[:1] + row[2:] for row in state.rows if row[2] == "validation"][-1:]))

    state = fit(learner, phases(), report=report, validate=validate, validate_every=every)
    due = [step for step in range(1, 12) if every and step % every == 0]
    assert [(step, name, value) for step, _, split, name, value in state.rows if split == "validation"] == [
        (step, "accuracy", step) for step in due
    ]
    for step in due:
        assert (step, [(step, "validation", "accuracy", step)]) in told  # whoever is told of a step knows its validation
    trained = [step for step, _, split, *_ in state.rows if split == "train"]
    assert trained == sorted({*due, 7, 12}) and weights(learner).equal(weights_after_all())


def weights_after_all() -> Tensor:
    learner = Line()
    fit(learner, phases())
    return weights(learner)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, "dsopt.training.loop")


def ticking(clock: Clock, seed: int) -> Callable[[int], Batch]:
    """Batches of which each takes 0.03 s."""
    make = source(seed)

    def batch(step: int) -> Batch:
        clock.now += 0.03
        return make(step)

    return batch


def test_validating_takes_nothing_of_the_budget(clock: Clock) -> None:
    def validate() -> dict[str, float]:
        clock.now += 0.2
        return {"accuracy": 0.0}

    state = fit(Line(), [Phase(ticking(clock, 1), lambda p: 1.0, seconds=0.1)], validate=validate, validate_every=1)
    assert state.total == 4 and state.seconds == pytest.approx(0.12)


def test_rates_follow_the_phase() -> None:
    learner = Line()
    fit(learner, phases())
    assert learner.rates == pytest.approx([0.05 * (1 - i / 14) for i in range(7)] + [0.025] * 5)


def test_a_budget_of_seconds_is_kept(clock: Clock) -> None:
    state = fit(Line(), [Phase(ticking(clock, 1), lambda p: 1.0, seconds=0.2)], report_every=1)
    assert state.total == 7 and state.seconds >= 0.2
    rows = [seconds for _, seconds, *_ in state.rows]
    assert rows == sorted(rows) and rows[-2] < 0.2


def test_every_phase_has_a_budget_of_its_own(clock: Clock) -> None:
    timed = [Phase(ticking(clock, i), lambda p: 1.0, seconds=0.1) for i in range(2)]
    state = fit(Line(), [timed[0], Phase(source(3), lambda p: 1.0, steps=0), timed[1]], report_every=1)
    assert state.total == 8 and state.seconds == pytest.approx(0.24) and state.phase == 3


@pytest.mark.parametrize(("until", "steps", "seconds"), [(0.5, 5 + 12, 0.51), (0.1, 5, 0.15)])
def test_a_phase_until_so_many_seconds_in_all(clock: Clock, until: float, steps: int, seconds: float) -> None:
    """The selection paper's fixed budget: so many fast steps, then full data until the time is over; none if it is over."""
    rates: list[float] = []

    def rate(progress: float) -> float:
        rates.append(progress)
        return 1.0

    phases = [Phase(ticking(clock, 1), lambda p: 1.0, steps=5), Phase(ticking(clock, 2), rate, until=until)]
    state = fit(Line(), phases, report_every=1)
    assert state.total == steps and state.seconds == pytest.approx(seconds)
    assert rates == sorted(rates) and all(0 <= rate <= 1 for rate in rates)


def test_tests_are_written_down_and_change_nothing() -> None:
    learner = Line()
    state = fit(learner, phases(), test=lambda: {"accuracy": float(len(learner.rates))}, test_every=4)
    assert [(step, value) for step, _, split, _, value in state.rows if split == "test"] == [(4, 4.0), (8, 8.0)]
    assert weights(learner).equal(weights_after_all())


def test_divergence_is_told_and_the_last_checkpoint_stays() -> None:
    class Diverging(Line):
        def update(self, batch: Batch) -> dict[str, Tensor]:
            loss = super().update(batch)["loss"]
            return {"loss": loss if batch.seed < 4 else torch.tensor(math.nan)}

    kept = Kept()
    with pytest.raises(JobError, match="at step 5"):
        fit(Diverging(), phases(), report_every=1, checkpoint=kept, checkpoint_seconds=0.0)
    told: list[int] = []
    fit(Line(), phases(), checkpoint=kept, resumed=lambda state: told.append(state.total))
    assert told == [4]


@pytest.mark.parametrize("damage", [lambda saved: b"PK half of it", lambda saved: saved[:100], lambda saved: other_network()])
def test_a_checkpoint_of_something_else_is_told(damage: Callable[[bytes], bytes]) -> None:
    class Named(Kept):
        def __str__(self) -> str:
            return "s3://runs/train/checkpoint.pt"

    kept = Named()
    fit(Line(), phases(), checkpoint=kept, checkpoint_seconds=0.0, report_every=1)
    assert kept.data is not None
    kept.data = damage(kept.data)
    with pytest.raises(InputError, match=r"s3://runs/train/checkpoint\.pt: does not fit this run.*delete it"):
        fit(Line(), phases(), checkpoint=kept)


def other_network() -> bytes:
    """A checkpoint of a learner with one more input."""
    data = io.BytesIO()
    networks: dict[str, nn.Module] = {"line": nn.Linear(4, 1)}
    torch.save({"learner": pack(networks, {}), "memories": [None, None], "state": {}}, data)
    return data.getvalue()
