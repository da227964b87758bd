"""Truncated backpropagation: its gradients, its optimizers, its clipping."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small import batch, doubles, problem, tiny  # noqa: F401
from torch.func import functional_call

from dsopt.distillation.bptt import Window, adaptive_window, bptt, random_window
from dsopt.distillation.inner import adam, sgd
from dsopt.errors import InputError


@pytest.mark.parametrize("ours, theirs", [(sgd(0.1), torch.optim.SGD), (adam(0.1), torch.optim.Adam)])
def test_optimizers_are_those_of_torch(ours, theirs):
    torch.manual_seed(0)
    weights = [torch.randn(3, 4), torch.randn(5)]
    parameters = [weight.clone().requires_grad_() for weight in weights]
    optimizer, state = theirs(parameters, 0.1), ours.start(weights)
    for t in range(5):
        gradients = [torch.randn(3, 4), torch.randn(5)]
        state = ours.update(state, gradients, ours.numbers(t))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    for mine, parameter in zip(state[:2], parameters, strict=True):
        torch.testing.assert_close(mine, parameter.detach())


WINDOW = 4


def unrolled(found, network, real, begin):
    """The same loss with one graph of the window, by torch's own means; the part before it without a graph."""
    names, images = [name for name, _ in network.named_parameters()], found.stored.leaf
    state = found.inner.start([value.detach() for value in network.parameters()])
    for t in range(begin + WINDOW):
        x = images.detach() if t < begin else images
        weights = [w if w.requires_grad else w.requires_grad_() for w in state[: len(names)]]
        loss = F.cross_entropy(functional_call(network, dict(zip(names, weights, strict=True)), (x,)), found.labels)
        gradients = torch.autograd.grad(loss, weights, create_graph=t >= begin)
        state = found.inner.update([*weights, *state[len(names) :]], list(gradients), found.inner.numbers(t))
        if t < begin:
            state = [value.detach() for value in state]
    return F.cross_entropy(
        functional_call(network, dict(zip(names, state[: len(names)], strict=True)), (real.images,)), real.labels
    )


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("inner", ["adam", "sgd"])
@pytest.mark.parametrize("begin", [0, 2])
def test_gradients(inner, begin):
    """Windowed, and of the whole training where the window is all of it: one graph of everything, and finite differences."""
    torch.manual_seed(0)
    found, network, real = bptt(problem(), length=6, window=WINDOW, inner=inner, inner_rate=0.02), tiny(), batch()
    images = found.stored.leaf.detach().double().requires_grad_()
    found.stored = replace(found.stored, leaf=images)
    loss, (gradient,) = found.gradients(network, real, Window(begin, WINDOW))
    expected = unrolled(found, network, real, begin)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, images)[0], rtol=1e-8, atol=1e-13)
    if begin == 0:
        direction, sides = torch.randn_like(images), []
        for sign in (1, -1):
            found.stored = replace(found.stored, leaf=(images.detach() + sign * 1e-7 * direction).requires_grad_())
            sides.append(found.gradients(network, real, Window(0, WINDOW))[0])
        torch.testing.assert_close((sides[0] - sides[1]) / 2e-7, (gradient * direction).sum(), rtol=1e-3, atol=1e-8)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("every", [2, 3, 5, 9])
def test_some_states_are_enough(every):
    """The states between are made again, bit by bit; nine are more than the window has."""
    torch.manual_seed(0)
    found, network, real = bptt(problem(), length=6, window=5), tiny(), batch()
    loss, gradients = found.gradients(network, real, Window(1, 5))
    few = bptt(problem(), length=6, window=5, every=every)
    again = few.gradients(network, real, Window(1, 5))
    assert torch.equal(again.loss, loss) and all(map(torch.equal, again.gradients, gradients))


def test_a_window_must_fit():
    with pytest.raises(InputError, match=r"window=9 must be from 1 to options\.length=8"):
        bptt(problem(), length=8, window=9)
    with pytest.raises(InputError, match=r"options\.every=0 must be at least 1"):
        bptt(problem(), every=0)


def test_adaptive_windows():
    """Where gradients are long at first, anywhere then, and late in the end."""
    norms = torch.tensor([1.0, 1.0, 30.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    for seed in range(20):
        assert adaptive_window(norms, 4, 2, 0, seed) == Window(2, 5)  # the largest change but one, of ten: 4 - 2 + 4 * 8 / 10
        assert adaptive_window(norms, 4, 2, 2, seed) == Window(6, 2)  # 10 - 2 - 2
    assert {adaptive_window(norms, 4, 2, 1, seed) for seed in range(99)} == {random_window(10, 6, seed) for seed in range(99)}
    assert {random_window(10, 6, seed).start for seed in range(99)} == set(range(5))
    steep = torch.arange(10.0) ** 2
    for third in range(3):
        for seed in range(20):
            window = adaptive_window(steep, 4, 2, third, seed)
            assert window.start >= 0 and 2 <= window.size <= 6 and window.start + window.size <= 10


def test_adaptive_windows_go_by_the_inner_training():
    torch.manual_seed(0)
    found, network, real = bptt(problem(steps=9), length=8, window=4, adaptive=True, spread=2, inner="sgd"), tiny(), batch()
    lengths = found.gradient_norms(network, real)
    logits = network(found.synthetic().images)
    first = torch.autograd.grad(F.cross_entropy(logits, found.labels), list(network.parameters()))
    torch.testing.assert_close(lengths[0], torch.cat([g.flatten() for g in first]).norm())
    assert len(lengths) == 8 and (lengths > 0).all()
    asked = []
    found.choose_window = lambda norms, taken, seed: asked.append(taken) or Window(0, 1)
    for step in range(3):
        found.update(batch(step))
    assert asked == [0, 1, 2] and found.state_dict()["taken"] == 3
    with pytest.raises(InputError, match=r"options\.spread=4: from 0 to 3"):
        bptt(problem(), length=8, window=4, adaptive=True, spread=4)
