"""The original distillation: its gradients, its fixed layers, what it learns."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small import batch, doubles, problem, tiny  # noqa: F401
from torch.func import functional_call

from dsopt.distillation.dd import dd
from dsopt.distillation.recipe import train
from dsopt.distillation.synthetic import Clipping
from dsopt.errors import InputError

CPU = torch.device("cpu")


def unrolled(found, network, weights, real):
    """The same loss in one differentiable piece, as plainly as can be."""
    names = [name for name, _ in network.named_parameters()]
    images, rates = found.stored.leaf, found.learned["rates"]
    targets = found.learned.get("soft", found.labels)
    for epoch in range(len(rates)):
        for block in range(rates.shape[1]):
            x, y = images.chunk(rates.shape[1])[block], targets.chunk(rates.shape[1])[block]
            loss = F.cross_entropy(functional_call(network, dict(zip(names, weights, strict=True)), (x,)), y)
            gradients = torch.autograd.grad(loss, weights, create_graph=True)
            weights = [w - F.softplus(rates[epoch, block]) * g for w, g in zip(weights, gradients, strict=True)]
    return F.cross_entropy(functional_call(network, dict(zip(names, weights, strict=True)), (real.images,)), real.labels)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("soft", [False, True])
def test_gradients(soft):
    """Against one graph of everything, and against finite differences in the direction of every learned part."""
    torch.manual_seed(0)
    found, network, real = dd(problem(per_class=2), rate=0.3, epochs=2, soft_labels=soft), tiny(), batch()
    found.learned = {name: value.detach().double().requires_grad_() for name, value in found.learned.items()}
    found.stored = replace(found.stored, leaf=found.stored.leaf.detach().double().requires_grad_())
    learned = [found.stored.leaf, *found.learned.values()]
    weights = [value.detach().requires_grad_() for value in network.parameters()]
    loss, gradients = found.gradients(network, weights, real)
    expected = unrolled(found, network, weights, real)
    torch.testing.assert_close(loss, expected.detach())
    for mine, theirs in zip(gradients, torch.autograd.grad(expected, learned), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-13)
    for value, gradient in zip(learned, gradients, strict=True):
        direction, step = torch.randn_like(value), 1e-6
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                value += sign * step * direction
            sides.append(found.gradients(network, weights, real)[0])
            with torch.no_grad():
                value -= sign * step * direction
        torch.testing.assert_close((sides[0] - sides[1]) / (2 * step), (gradient * direction).sum(), rtol=1e-5, atol=1e-9)


def test_training_by_its_recipe_is_what_was_unrolled():
    torch.manual_seed(0)
    found, network, real = dd(problem(per_class=2), rate=0.1, epochs=2), tiny(), batch()
    loss, _ = found.gradients(network, [value.detach() for value in network.parameters()], real)
    after = train(network, *found.synthetic()[:2], found.recipe(), 0)
    torch.testing.assert_close(F.cross_entropy(after(real.images), real.labels), loss)


def test_a_long_gradient_is_held_to_its_moving_average():
    clipping, parts = Clipping(2.0, CPU), [torch.tensor([3.0, 4.0]), torch.tensor([1.0])]
    assert all(map(torch.equal, clipping(parts), parts))  # the first: there is no average yet
    held = clipping([100 * parts[0], parts[1]])
    torch.testing.assert_close(held, [2 * parts[0], parts[1]])  # each by its own
    torch.testing.assert_close(clipping.norms, torch.tensor([0.9 * 5 + 0.1 * 10, 1]))
    started_at_zero = Clipping(2.0, CPU)
    started_at_zero([torch.zeros(2)])
    assert torch.equal(started_at_zero(parts[:1])[0], parts[0])  # or nothing would ever be learned
    assert all(map(torch.equal, Clipping(0.0, CPU)([100 * parts[0]]), [100 * parts[0]]))


@pytest.mark.parametrize(("clip", "least", "most"), [(0.0, 5, 16), (2.0, 0, 2)])
def test_after_one_long_gradient_images_move_by_so_many_times_the_rate(clip, least, most):
    torch.manual_seed(0)
    found, real = dd(problem(), clip=clip, learning_rate=0.01), batch()
    for scale in [1] * 300 + [1000]:
        made = [scale * torch.randn_like(value) for value in (found.stored.leaf, *found.learned.values())]
        found.passes = lambda *_, made=made: (torch.zeros(()), made)
        before = found.stored.leaf.detach().clone()
        found.update(real)
    moved = (found.stored.leaf.detach() - before).square().mean().sqrt()
    assert least < float(moved) / 0.01 < most


def test_fixed_layers_start_alike_and_the_others_do_not():
    found = dd(problem(), fixed_layers=1)
    assert list(found.weights()) == ["0.weight", "0.bias"]
    again = dd(problem(), fixed_layers=1)
    assert all(torch.equal(value, again.weights()[name]) for name, value in found.weights().items())
    assert set(dd(problem(), fixed_layers=3).weights()) == set(dict(tiny().named_parameters()))
    with pytest.raises(InputError, match="fixed_layers=4: valid: 0 to the network's 3"):
        dd(problem(), fixed_layers=4)
    with pytest.raises(InputError, match=r"per_step=2 must divide distill\.per_class=3"):
        dd(problem(per_class=3), per_step=2)


@pytest.mark.slow
def test_one_network_learns_the_digits_from_ten_images_in_three_steps():
    """All layers fixed: a start that knows nothing gets far."""
    found = dd(problem(), fixed_layers=3, rate=0.1, learning_rate=0.1)
    losses = [float(found.update(batch(step, 100))["loss"]) for step in range(60)]
    assert losses[0] > 2.2 and sum(losses[-5:]) / 5 < 1.5
