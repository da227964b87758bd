"""What is particular to each of the other methods."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small import batch, problem, tiny

from dsopt.distillation.dm import class_means, dm, siamese
from dsopt.distillation.frepo import frepo, margin, ridge
from dsopt.distillation.gradient_matching import _Eager, distance, gradient_matching
from dsopt.distillation.pool import Pool
from dsopt.distillation.real import kmeans, random
from dsopt.distillation.recipe import Recipe, centered, train
from dsopt.distillation.synthetic import rows_of_classes
from dsopt.errors import InputError


def test_means_of_classes():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert class_means(features, torch.tensor([2, 0, 2]), 3).tolist() == [[3, 4], [0, 0], [3, 4]]


def test_matching_images_do_not_move():
    """All real images as the synthetic ones: there is nothing to gain."""
    found = dm(problem(per_class=4), init="random", learning_rate=1.0)
    given = batch()._replace(images=found.synthetic().images.clone(), labels=found.labels)
    torch.manual_seed(0)
    assert float(found.update(given)["loss"]) < 1e-10


def test_siamese_transforms_are_the_same_for_every_image():
    images = torch.rand(8, 1, 32, 32)
    flips = [torch.equal(siamese(images, ["flip"], seed), images.flip(3)) for seed in range(16)]
    stays = [torch.equal(siamese(images, ["flip"], seed), images) for seed in range(16)]
    assert all(a != b for a, b in zip(flips, stays, strict=True)) and any(flips) and any(stays)


def test_the_network_of_dsa_learns_from_transformed_images():
    torch.manual_seed(0)
    losses = {}
    for names in ([], ["flip"]):
        found = gradient_matching(replace(problem(), augment=names))
        network = tiny()
        losses[len(names)] = [float(found._loss(_Eager(), seed, network).detach()) for seed in range(4)]
    assert len(set(losses[0])) == 1 and len(set(losses[1])) > 1


def test_ridge_regression_is_that_of_the_textbook():
    torch.manual_seed(0)
    x, y, asked = torch.randn(20, 5).double(), torch.randn(20, 3).double(), torch.randn(7, 5).double()
    strength = 0.1 * float((x @ x.T).diagonal().mean())
    weights = torch.linalg.solve(x.T @ x + strength * torch.eye(5).double(), x.T @ y)
    torch.testing.assert_close(ridge(x, y, asked, 0.1), asked @ weights)


def test_the_margin_of_labels():
    assert float(margin(centered(torch.tensor([1, 3]), 10))) == -torch.tensor(0.1).item()
    torch.testing.assert_close(margin(torch.tensor([[0.0, 0.04, 0.0, 0.0]])), torch.tensor(-0.04))


def test_frepo_lowers_its_loss():
    found = frepo(problem(), pool=1, learning_rate=0.02)
    losses = [float(found.update(batch(step, 100))["loss"]) for step in range(25)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_gradients_of_the_same_images_are_no_distance_apart():
    torch.manual_seed(0)
    network, given = tiny(), batch()
    parameters = list(network.parameters())
    one = torch.autograd.grad(F.cross_entropy(network(given.images), given.labels), parameters)
    torch.testing.assert_close(distance(one, [3 * g for g in one]), torch.tensor(0.0), rtol=0, atol=1e-4)
    units = sum(len(g) for g in one if g.ndim > 1)
    torch.testing.assert_close(distance(one, [-g for g in one]), torch.tensor(2.0 * units), rtol=1e-3, atol=1e-3)


def test_gradient_matching_lowers_its_loss():
    found = gradient_matching(problem(), outer=100, inner=1, learning_rate=1.0)
    losses = [float(found.update(batch(step, 100))["loss"]) for step in range(12)]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_a_pool_replaces_its_old_networks():
    pool = Pool(problem(), 2, 3, lambda parameters: torch.optim.SGD(parameters, 0.1))
    first = pool.networks[0]
    for _ in range(3):
        pool.train(0, lambda network: network(torch.zeros(1, 1, 32, 32)).sum())
    assert pool.networks[0] is first and pool.ages == [3, 1]
    pool.train(0, lambda network: network(torch.zeros(1, 1, 32, 32)).sum())
    assert pool.networks[0] is not first and pool.ages == [0, 1]


def test_real_images_are_real_and_of_their_class():
    real = problem(per_class=3)
    everything = real.inputs(real.images).flatten(1)
    for method in (random, kmeans):
        images, labels, _ = method(real).synthetic()
        nearest = torch.cdist(images.flatten(1), everything).min(1)
        assert float(nearest.values.max()) < 0.1 and torch.equal(real.labels[nearest.indices], labels)


def test_a_network_learns_its_images_by_the_common_recipe():
    torch.manual_seed(0)
    images, labels, _ = random(problem()).synthetic()
    for loss in ("cross_entropy", "squared_error"):
        network = train(tiny(), images, labels, Recipe(learning_rate=0.01, steps=60, loss=loss), 0)
        assert torch.equal(network(images).argmax(1), labels), loss


def test_passes_over_real_images_are_one_of_every_class_a_step():
    """The thesis's black lines in figure 3.1: three epochs."""
    found = random(problem(per_class=4), epochs=3, rate=0.5)
    assert found.recipe().rates == [[0.5] * 4] * 3
    for labels in found.synthetic().labels.chunk(4):
        assert sorted(labels.tolist()) == list(range(10))
    for wrong in ({"epochs": -1}, {"epochs": 1, "rate": 0.0}):
        with pytest.raises(InputError, match=r"^distill random: options\.epochs="):
            random(problem(), **wrong)
    with pytest.raises(InputError, match="no transforms"):
        random(problem(augment=("shift",)), epochs=1)


def test_rows_of_a_workers_part_of_a_balanced_batch():
    labels = torch.arange(10).repeat(3)
    for part in (labels, labels[:15], labels[15:], labels[5:25]):
        found = rows_of_classes(part, 10)
        assert len(found) == 10 and all((part[rows] == label).all() and len(rows) for label, rows in enumerate(found))
        assert sum(map(len, found)) == len(part)
