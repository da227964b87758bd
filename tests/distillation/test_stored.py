"""What synthetic images are made from: the images, their gradients, where they may lie."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small import batch, problem
from torch import Tensor, nn

from dsopt.distillation.contract import Generator, Problem, Stored
from dsopt.distillation.halving import halving
from dsopt.distillation.input_gradients import partners, slope_matching
from dsopt.distillation.stored import create_stored
from dsopt.errors import InputError
from dsopt.losses.input_gradients import loss_gradients
from dsopt.registry import DISTILLERS
from dsopt.seeds import derive
from dsopt.training.loop import _set_rate

LATENT = 5


class Painter(nn.Module):
    """A conditional generator of 32x32 in -1..1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(LATENT + 10, 16), nn.Linear(16, 32 * 32)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.second(self.first(torch.cat([noise, F.one_hot(labels, 10).float()], 1)).relu()).view(-1, 1, 32, 32).tanh()


def painted(stored: str, per_class: int = 1, **options) -> Problem:
    torch.manual_seed(5)

    def noise(count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, LATENT, generator=generator)

    made = Generator(Painter().eval().requires_grad_(False), noise, LATENT**0.5, lambda images: (images + 1) / 2)
    return problem(per_class, stored=(stored, options), generator=made)


WAYS: list[tuple[str, dict]] = [
    *[("pixels", {}), ("formations", {}), ("formations", {"factor": 4}), ("latent", {}), ("layer", {"module": "first"})],
    *[("averages", {"count": 3}), ("eigenimages", {"count": 4})],
]


@pytest.mark.parametrize("init", ["noise", "random", "kmeans"])
@pytest.mark.parametrize(("name", "options"), WAYS)
def test_gradients_go_through_what_images_are_generated_from(name: str, options: dict, init) -> None:
    made = create_stored(painted(name, 2, **options), init)
    times = options.get("factor", 2) ** 2 if name == "formations" else 1
    images = made.images()
    assert images.shape == (20 * times, 1, 32, 32) and images.is_leaf and made.labels.tolist() == 2 * times * list(range(10))
    target = torch.randn_like(images)
    (gradient,) = torch.autograd.grad((images * target).sum(), images)
    direction = torch.randn_like(made.leaf)
    direction /= direction.norm()
    sides = [(made.decode(made.leaf.detach() + sign * 0.01 * direction) * target).sum() for sign in (1, -1)]
    torch.testing.assert_close((sides[0] - sides[1]) / 0.02, (made.leaf_gradient(gradient) * direction).sum(), rtol=0.02, atol=0.02)


def test_a_formation_holds_real_images_in_its_corners() -> None:
    given = painted("formations", 1)
    made = create_stored(given, "random")
    assert made.leaf.shape == (10, 1, 32, 32)
    corner = F.interpolate(made.leaf.detach()[:, :, :16, 16:], (32, 32), mode="bilinear", align_corners=False)
    assert torch.equal(made.images()[10:20].detach(), corner)
    real = given.inputs(given.images[given.labels == 3])
    shrunk = F.interpolate(real, (16, 16), mode="area")
    assert any(torch.allclose(made.leaf.detach()[3, :, 16:, :16], one, atol=1e-6) for one in shrunk)


@pytest.mark.parametrize("method", ["random", "kmeans"])
def test_a_set_may_start_from_what_a_baseline_is(method) -> None:
    given = problem(2)
    baseline = DISTILLERS.build(method)(given).synthetic()
    made = create_stored(given, method)
    assert torch.equal(made.images().detach(), baseline.images) and torch.equal(made.labels, baseline.labels)


def test_points_stay_on_the_sphere_where_they_are_told_to() -> None:
    for sphere in (True, False):
        made = create_stored(painted("latent", sphere=sphere), "noise")
        made.leaf.data.add_(3)
        made.project_leaf()
        kept = torch.allclose(made.leaf.norm(dim=1), torch.full((10,), LATENT**0.5))
        assert kept == sphere


def test_points_shrink_by_l2_at_each_step() -> None:
    """The other proposal of the thesis (section 6.1); with the sphere as well, the norm stays."""
    made = create_stored(painted("latent", l2=0.25), "noise")
    before = made.leaf.detach().clone()
    made.project_leaf()
    torch.testing.assert_close(made.leaf.detach(), 0.75 * before)
    both = create_stored(painted("latent", l2=0.25, sphere=True), "noise")
    both.project_leaf()
    torch.testing.assert_close(both.leaf.norm(dim=1), torch.full((10,), LATENT**0.5))
    with pytest.raises(InputError, match=r"options\.l2=1\.0: must be in \[0, 1\)"):
        create_stored(painted("latent", l2=1.0), "noise")


def test_averages_are_of_real_images_of_the_class() -> None:
    given = painted("averages", 2, count=3)
    made = create_stored(given, "noise")
    assert made.leaf.shape == (20, 3)
    of_class = given.inputs(given.images[given.labels == 4])
    made.leaf.data[4] = torch.tensor([0.0, 50.0, 0.0])  # one of the three alone
    image = made.images()[4].detach()
    assert any(torch.allclose(image, real, atol=1e-5) for real in of_class)
    made.leaf.data[4] = 0
    assert not any(torch.allclose(made.images()[4].detach(), real, atol=1e-5) for real in of_class)  # their mean is none of them


def test_eigenimages_lie_around_the_mean_of_their_class() -> None:
    """Coefficients of zero give the mean; one of 1 moves the image by one standard deviation, along orthogonal directions."""
    given = painted("eigenimages", count=4)
    made = create_stored(given, "random")
    assert made.leaf.shape == (10, 4)
    made.leaf.data.zero_()
    means = made.images().detach()
    torch.testing.assert_close(means[4], given.inputs(given.images[given.labels == 4]).mean(0), atol=1e-4, rtol=1e-4)
    moved = []
    for k in range(4):
        made.leaf.data.zero_()
        made.leaf.data[:, k] = 1
        moved.append((made.images().detach() - means)[4].flatten())
    sizes = torch.stack([one.norm() for one in moved])
    assert (sizes.diff() <= 1e-5).all()  # the largest eigenvalues first
    shares = torch.stack(moved) / sizes[:, None]
    torch.testing.assert_close(shares @ shares.T, torch.eye(4), atol=1e-3, rtol=0)


def test_a_layer_starts_with_the_images_of_noise() -> None:
    assert torch.allclose(
        create_stored(painted("layer", module="first"), "noise").images(), create_stored(painted("latent"), "noise").images()
    )
    with pytest.raises(InputError, match=r"options.module=third: valid: first, second\.$"):
        create_stored(painted("layer", module="third"), "noise")
    given = painted("layer", module="unused")
    assert given.generator is not None
    given.generator.network.add_module("unused", nn.ModuleList([nn.Linear(1, 1)]))
    with pytest.raises(InputError, match=r"options.module=unused: valid: first, second\.$"):
        create_stored(given, "noise")


def test_formations_must_fit() -> None:
    with pytest.raises(InputError, match=r"options\.factor=3: must be 2 or more and divide 32 pixels"):
        create_stored(painted("formations", factor=3), "noise")
    with pytest.raises(InputError, match="with 4 images in each: class"):
        create_stored(painted("formations", 20), "random")


OPTIONS = {"bptt": {"length": 6, "window": 3}}
LEARNING = [name for name in DISTILLERS.names() if DISTILLERS.traits(name).learns and name != "halving"]


@pytest.mark.parametrize(("name", "options"), WAYS[1:])
@pytest.mark.parametrize("method", LEARNING)
def test_every_method_learns_whatever_images_are_generated_from(method: str, name: str, options: dict) -> None:
    torch.manual_seed(0)
    found = DISTILLERS.build(method, OPTIONS.get(method))(painted(name, **options))
    before, leaf = found.synthetic(), found.stored.leaf.clone()
    for step in range(2):
        given = batch(step)
        torch.manual_seed(derive(given.seed, 0))
        found.update(given)
    after = found.synthetic()
    assert not torch.equal(leaf, found.stored.leaf) and not torch.equal(before.images, after.images)
    assert torch.equal(after.labels, before.labels) and len(after.labels) == len(after.images)
    assert torch.equal(after.images, found.stored.decode(found.stored.leaf).detach())


def smooth() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 16), nn.Tanh(), nn.Linear(16, 10))


def test_gradients_are_matched_with_real_images_of_the_class() -> None:
    given = batch()
    indices = partners(10, 6, given.labels)  # of which the batch has four of each class
    assert given.labels[indices].tolist() == 6 * list(range(10)) and len(indices.unique()) == 40
    assert torch.equal(indices[:20], indices[40:])
    torch.manual_seed(0)
    found, told = slope_matching(problem(network=smooth)), []
    for _ in range(30):
        torch.manual_seed(1)  # the same network: its slopes can be met
        told.append(float(found.update(given)["difference"]))
    assert told[-1] < 0.7 * told[0]
    with pytest.raises(InputError, match="must not be 0"):
        slope_matching(problem(), alpha=0.0)


def test_the_sign_of_beta() -> None:
    for beta in (1.0, -1.0):
        torch.manual_seed(0)
        found = slope_matching(problem(network=smooth), alpha=0.0, beta=beta)

        def size(found=found) -> float:
            torch.manual_seed(1)
            return loss_gradients(found.problem.network(), found.stored.images(), found.labels).norm(dim=1).mean().item()

        before = size()
        for step in range(10):
            torch.manual_seed(1)
            found.update(batch(step))
        assert (size() < before) == (beta > 0)


def test_images_are_halved_round_by_round() -> None:
    torch.manual_seed(0)
    found = halving(problem(2, steps=6), rounds=3)
    sizes = []
    for step in range(6):
        found.update(batch(step))
        sizes.append((len(found.target), len(found.synthetic().images)))
    assert sizes == [(160, 80)] * 2 + [(80, 40)] * 2 + [(40, 20)] * 2
    assert found.synthetic().labels.tolist() == 2 * list(range(10))
    for wrong, told in ((problem(steps=2), "from 1 to distill.steps=2"), (problem(stored=("formations", {})), "expected pixels")):
        with pytest.raises(InputError, match=told):
            halving(wrong, rounds=3)


def test_halved_images_stand_for_images_of_the_same_classes() -> None:
    found = halving(replace(problem(3), steps=4), rounds=2)  # 60 images for 120: parts of a size that no class divides
    stands_for = found._labels(60)
    for part in range(2):
        assert torch.equal(stands_for[part * 30 : part * 30 + 30], found._labels(120)[60:][part * 30 : part * 30 + 30])
    for step in range(4):
        _set_rate(found, 0.1 * (step + 1))  # as the loop does before a step
        found.update(batch(step))
        assert found.optimizers["images"].param_groups[0]["lr"] == 0.1 * 0.1 * (step + 1)  # also where a round begins
    many = halving(replace(problem(10), steps=100), rounds=1)  # three parts of 67 and 66 images
    for step in range(12):
        many.update(batch(step))


@pytest.mark.slow
def test_half_as_many_images_give_the_gradients_of_twice_as_many() -> None:
    torch.manual_seed(0)
    found = halving(replace(problem(2), steps=200), rounds=1, learning_rate=1.0)
    losses = []
    for step in range(60):
        torch.manual_seed(1)
        losses.append(float(found.update(batch(step))["loss"]))
    assert losses[-1] < 0.7 * losses[0]


def test_a_stored_set_is_what_it_says() -> None:
    made = create_stored(problem(), "noise")
    assert isinstance(made, Stored) and torch.equal(made.images().detach(), made.leaf.detach())
