"""The real learners go on after an interruption as if there had been none, to the last bit."""

import pytest
import torch
from clock import Clock
from digits import CPU, feed

from dsopt.data.batches import Batch
from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.learners.classifier import Classifier
from dsopt.losses.reconstruction import wasserstein
from dsopt.models.autoencoder import autoencoder
from dsopt.models.classifier24 import classifier24
from dsopt.models.critic import critic
from dsopt.training.loop import Learner, Phase, State, fit
from dsopt.training.schedules import cosine


class Stateful:
    """A checkpoint in memory."""

    data: bytes | None = None

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data


class Killed(Exception):
    pass


def with_dropout() -> Learner:
    """A classifier whose every step also draws random numbers of its own."""
    torch.manual_seed(0)
    network = classifier24(1, 10, width=4, dropout=0.5)
    return Classifier(network, learning_rate=0.05, momentum=0.9, weight_decay=0.004, average=0.9, precision="fp32", device=CPU)


def with_critic() -> Learner:
    torch.manual_seed(0)
    networks = autoencoder(1, width=4), critic(1, width=4)
    return AutoencoderLearner(
        networks[0], wasserstein(), networks[1], learning_rate=0.1, momentum=0.9, precision="fp32", device=CPU
    )


def phases(standardised: bool) -> list[Phase]:
    """Three epochs of a subset, whose size no batch divides, then everything."""
    small, large = feed(10, 8, standardised=standardised, seed=1), feed(60, 8, standardised=standardised, seed=2)
    return [Phase(small, cosine, steps=4), Phase(large, cosine, steps=4)]


def numbers(state: State) -> list[tuple[int, str, float]]:
    return [(step, name, value) for step, _, _, name, value in state.rows]


def assert_alike(one: Learner, other: Learner) -> None:
    """All weights, averages and batch statistics, to the last bit."""
    for name, network in one.networks.items():
        expected = other.networks[name].state_dict()
        for key, value in network.state_dict().items():
            assert torch.equal(value, expected[key]), f"{name}.{key}"


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("make", [with_dropout, with_critic])
def test_interrupted_after_any_step_is_undisturbed(make, every):
    whole, standardised = make(), make is with_dropout
    expected = fit(whole, phases(standardised), report_every=every)
    for at in range(2, 9):
        seen = 0

        def count(learner: Learner, at: int = at) -> Learner:
            """The learner, killed in its `at`-th step."""
            update = learner.update

            def dying(batch):
                nonlocal seen
                seen += 1
                if seen == at:
                    raise Killed
                return update(batch)

            learner.update = dying  # type: ignore[method-assign]
            return learner

        memory = Stateful()
        with pytest.raises(Killed):
            fit(count(make()), phases(standardised), report_every=every, checkpoint=memory, checkpoint_seconds=-1.0)
        torch.rand(at)  # the new process's generator stands elsewhere
        resumed = make()
        state = fit(resumed, phases(standardised), report_every=every, checkpoint=memory)
        assert numbers(state) == numbers(expected) and state.total == 8
        assert_alike(resumed, whole)


def test_interrupted_twice_is_undisturbed():
    whole, memory = with_dropout(), Stateful()
    expected = fit(whole, phases(True), report_every=1)
    for at in (3, 6):

        def die(state: State, at: int = at) -> None:
            if state.total == at:
                raise Killed

        with pytest.raises(Killed):
            fit(with_dropout(), phases(True), report=die, report_every=1, checkpoint=memory, checkpoint_seconds=-1.0)
    resumed = with_dropout()
    assert numbers(fit(resumed, phases(True), report_every=1, checkpoint=memory)) == numbers(expected)
    assert_alike(resumed, whole)


def test_a_run_draws_what_its_batches_say_and_not_what_was_drawn_before():
    found = []
    for before in (0, 5):
        learner = with_dropout()
        torch.rand(before)
        found.append(numbers(fit(learner, phases(True), report_every=1)))
    assert found[0] == found[1]


def test_a_budget_of_seconds_counts_over_all_attempts(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch, "dsopt.training.loop")
    memory, steps, progress = Stateful(), [], []
    small = feed(10, 2)

    def slow(step: int) -> Batch:
        clock.now += 0.01
        steps.append(step)
        return small(step)

    def rate(along: float) -> float:
        progress.append(along)
        return 1.0

    def die(state: State) -> None:
        if state.seconds > 0.15:
            raise Killed

    timed = [Phase(slow, rate, seconds=0.3)]
    with pytest.raises(Killed):
        fit(with_dropout(), timed, report=die, report_every=1, checkpoint=memory, checkpoint_seconds=-1.0)
    attempted = len(steps)
    told: list[State] = []
    state = fit(with_dropout(), timed, resumed=lambda s: told.append(State(**vars(s))), report_every=1, checkpoint=memory)
    assert len(told) == 1 and told[0].total == attempted - 1  # the step that was reported but not saved is taken again
    assert steps[attempted] == attempted - 1 and state.total == len(steps) - 1 <= 30
    assert state.seconds >= 0.3 and state.seconds - told[0].seconds < 0.3
    assert min(progress) == 0.0 and max(progress) <= 1.0 and progress[attempted] > 0
