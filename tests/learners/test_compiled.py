"""Compiled passes: the same training as eager ones, chosen by time, and never in the way."""

import copy

import pytest
import torch
from digits import CPU, feed
from torch import nn

from dsopt.errors import JobError
from dsopt.learners import compiled
from dsopt.learners.classifier import Classifier
from dsopt.models.classifier24 import classifier24

COMPILE = torch.compile


def learner(how: compiled.How, network: nn.Module | None = None) -> Classifier:
    torch.manual_seed(0)
    settings = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "precision": "fp32", "device": CPU}
    return Classifier(network or classifier24(1, 10, width=8), compile=how, **settings)


def losses(made: Classifier, steps: int) -> list[float]:
    source = feed()
    return [float(made.update(source(step))["loss"]) for step in range(steps)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as a compiler needs it, but run by torch: the compiler itself takes half a minute."""
    monkeypatch.setattr(torch, "compile", lambda network, mode, dynamic: COMPILE(network, backend="aot_eager", dynamic=dynamic))


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
@pytest.mark.parametrize("how", ["on", "auto"])
def test_compiled_passes_train_as_eager_ones(how: compiled.How) -> None:
    assert losses(learner(how), 6) == pytest.approx(losses(learner("off"), 6), rel=1e-4)


@pytest.mark.slow
def test_the_compiler_trains_as_eager_passes() -> None:
    network = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(24 * 24, 10))  # a small one: compiling takes long
    found = losses(learner("on", copy.deepcopy(network)), 6)
    assert found == pytest.approx(losses(learner("off", network), 6), rel=1e-3) and len(set(found)) == 6


@pytest.mark.parametrize("slow", ["eager", "compiled"])
def test_what_takes_less_time_is_taken(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    clock, network, other, taken = [0.0], nn.Identity(), nn.Identity(), []
    monkeypatch.setattr(torch, "compile", lambda *_, **__: other)
    monkeypatch.setattr(compiled.Fastest, "_now", lambda _: clock[0])
    passes = compiled.passes(network, "auto", CPU)
    measured = 2 * (compiled.WARM + compiled.WINDOWS * compiled.STEPS)
    for module, name in ((network, "eager"), (other, "compiled")):
        module.register_forward_hook(lambda *_, name=name: taken.append(name))
    for step in range(measured + 10):
        passes(torch.zeros(1))
        clock[0] += 2.0 if taken[-1] == slow else 1.0
        clock[0] += 100.0 if step == 12 else 0.0  # a validation, which is not the network's
    assert taken[:measured] == ["eager"] * (measured // 2) + ["compiled"] * (measured // 2)
    assert set(taken[measured:]) == {"eager", "compiled"} - {slow}
    assert passes.about() == {"compile": "auto", "seconds_per_step": {"eager": 1.0, "compiled": 1.0} | {slow: 2.0}}


def fails(*_: object, **__: object) -> nn.Module:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such compiler\nmore of it")

    return Broken()


def test_a_network_that_cannot_be_compiled_is_trained_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", fails)
    expected = losses(learner("off"), 30)
    assert losses(learner("auto"), 30) == expected
    assert "not compiled: no such compiler" in capsys.readouterr().out
    with pytest.raises(JobError, match="cannot be compiled: no such compiler"):
        losses(learner("on"), 1)
