"""Compiled inner training: the steps of the eager one, of a graph for each kind of step."""

import pytest
import torch
from small import batch, doubles, problem, tiny  # noqa: F401

from dsopt.distillation.bptt import bptt
from dsopt.distillation.dd import dd
from dsopt.distillation.gradient_matching import gradient_matching
from dsopt.models.convnet import convnet
from dsopt.models.lenet import lenet

SETTINGS = {
    "dd": (dd, {"epochs": 2, "per_step": 1, "rate": 0.1}),
    "dd with labels and fixed layers": (dd, {"soft_labels": True, "fixed_layers": 1, "rate": 0.1}),
    "gradient matching": (gradient_matching, {"outer": 2, "inner": 2}),
    "bptt": (bptt, {"length": 5, "window": 3}),
    "bptt with labels, of some states": (bptt, {"length": 6, "window": 5, "every": 2, "soft_labels": True}),
    "bptt by sgd, adaptive": (bptt, {"length": 5, "window": 3, "inner": "sgd", "adaptive": True, "spread": 1, "every": 3}),
}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The graphs that are given to the compiler, which is left out: it takes half a minute for each."""
    graphs: list[torch.fx.GraphModule] = []
    monkeypatch.setattr(torch, "compile", lambda module, mode, dynamic: graphs.append(module) or module)
    return graphs


def trained(make, settings, how, network=tiny, per_class=2, augment=()):
    torch.manual_seed(0)
    made = make(problem(per_class=per_class, network=network, compile=how, augment=augment), **settings)
    losses = [float(made.update(batch(step))["loss"]) for step in range(2)]
    return losses, made


@pytest.mark.usefixtures("doubles")
@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_it_learns_the_same_images_in_few_graphs(name, traced):
    make, settings = SETTINGS[name]
    augment = () if make is dd else ("flip",)
    (expected, eager), (losses, made) = (trained(make, settings, how, augment=augment) for how in ("off", "on"))
    assert losses == pytest.approx(expected, rel=1e-9) and len(set(losses)) == 2
    for mine, theirs in zip(made.synthetic(), eager.synthetic(), strict=True):
        assert (mine is None) == (theirs is None)
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9) if mine is not None else None
    assert len(traced) == 3 and eager.passes.about() == {} and made.passes.about()["compile"] == "on"


@pytest.mark.slow
@pytest.mark.parametrize("network", [lambda: lenet(1, 10), lambda: convnet(1, 10, width=4)])
def test_operations_that_are_our_own_are_traced_too(network, traced):
    """LeNet's kernel is no operation of torch, and ConvNet's normalization has a derivative by hand."""
    (expected, _), (losses, _) = (trained(dd, {"epochs": 2}, how, network, 1) for how in ("off", "on"))
    assert losses == pytest.approx(expected, rel=1e-3) and len(traced) == 3


@pytest.mark.long
def test_the_compiler_learns_as_the_eager_steps():
    def network():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 10))

    (expected, _), (losses, _) = (trained(dd, {"epochs": 2}, how, network, 1) for how in ("off", "on"))
    assert losses == pytest.approx(expected, rel=1e-3)
