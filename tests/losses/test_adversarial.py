"""Adversarial losses and their terms against their formulas."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dsopt.losses import adversarial, terms
from dsopt.losses.adversarial import DiscriminatorOutput
from dsopt.losses.likelihood import bernoulli, bernoulli_over_channels, gaussian
from dsopt.losses.terms import Context
from dsopt.registry import ADVERSARIAL, TERMS

REAL, FAKE = torch.tensor([2.0, -0.5]), torch.tensor([0.3, -3.0])


def sides(loss: adversarial.AdversarialLoss, real: torch.Tensor = REAL, fake: torch.Tensor = FAKE) -> tuple[float, float]:
    assert loss.discriminator and loss.generator
    on_real, on_fake = DiscriminatorOutput(real), DiscriminatorOutput(fake)
    return float(loss.discriminator(on_real, on_fake)), float(loss.generator(on_fake))


def mean(*values: float) -> float:
    return sum(values) / len(values)


def log_sigmoid(x: float) -> float:
    return math.log(1 / (1 + math.exp(-x)))


def test_cross_entropy_by_hand():
    judged = -mean(log_sigmoid(2.0), log_sigmoid(-0.5)) - mean(log_sigmoid(-0.3), log_sigmoid(3.0))
    assert sides(adversarial.non_saturating()) == pytest.approx((judged, -mean(log_sigmoid(0.3), log_sigmoid(-3.0))))
    assert sides(adversarial.minimax()) == pytest.approx((judged, mean(log_sigmoid(-0.3), log_sigmoid(3.0))))


def test_least_squares_by_hand():
    judged = (mean(1.0**2, 1.5**2) + mean(0.3**2, 3.0**2)) / 2
    assert sides(adversarial.least_squares()) == pytest.approx((judged, mean(0.7**2, 4.0**2) / 2))
    other = (mean(1.0**2, 1.5**2) + mean(1.3**2, 2.0**2)) / 2
    assert sides(adversarial.least_squares(fake=-1.0, real=1.0, wanted=0.0)) == pytest.approx((other, mean(0.3**2, 3.0**2) / 2))


def test_hinge_wasserstein_and_energy_by_hand():
    assert sides(adversarial.hinge()) == pytest.approx((mean(0.0, 1.5) + mean(1.3, 0.0), -mean(0.3, -3.0)))
    assert sides(adversarial.wasserstein()) == pytest.approx((mean(0.3, -3.0) - mean(2.0, -0.5), -mean(0.3, -3.0)))
    energies = torch.tensor([0.2, 0.4]), torch.tensor([0.5, 3.0])
    found = sides(adversarial.energy(margin=1.0), -energies[0], -energies[1])
    assert found == pytest.approx((0.3 + mean(0.5, 0.0), 1.75))


@pytest.mark.parametrize("name", [name for name in ADVERSARIAL.names() if name != "none"])
def test_a_discriminator_wants_real_above_generated_and_a_generator_the_reverse(name):
    """Following the gradient of either side moves scores where that side wants them; patches count as images do."""
    loss = ADVERSARIAL.build(name)()
    assert loss.discriminator and loss.generator
    real, fake = torch.full((4,), -0.2, requires_grad=True), torch.full((4,), -0.2, requires_grad=True)
    pull, push = torch.autograd.grad(loss.discriminator(DiscriminatorOutput(real), DiscriminatorOutput(fake)), [real, fake])
    (wish,) = torch.autograd.grad(loss.generator(DiscriminatorOutput(fake)), fake)
    assert (pull < 0).all() and (wish < 0).all() and ((push > 0).all() or name == "least_squares")  # its fake scores go to 0
    patches = sides(loss, REAL.expand(3, 2), FAKE.expand(3, 2))
    assert patches == pytest.approx(sides(loss))


class Linear(nn.Module):
    """A discriminator whose score is <weights, image> + bias of the condition."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: torch.Tensor, condition: torch.Tensor | None) -> DiscriminatorOutput:
        features = images.flatten(1) * self.weights
        return DiscriminatorOutput(features.sum(1), features=features)


class Square(Linear):
    """A discriminator whose score is |image|^2, so its gradient is 2 * image."""

    def forward(self, images: torch.Tensor, condition: torch.Tensor | None) -> DiscriminatorOutput:
        return DiscriminatorOutput(images.flatten(1).square().sum(1))


def context(discriminator: Callable, side: str = "discriminator", **more) -> Context:
    random = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(5, 1, 4, 4, generator=random) for _ in range(2))
    fake = fake.requires_grad_() if side == "generator" else fake
    seen = {"real": real, "fake": fake, "condition": None, "discriminator": discriminator}
    outputs = {"real_output": None, "fake_output": discriminator(fake, None)}
    drawn = {"u": torch.rand(5, generator=random), "classifiers": {}, "noise": None, "seed": 0, "classes": 3}
    return Context(**(seen | outputs | drawn | more))


def test_the_gradient_penalty_of_a_linear_discriminator_is_the_norm_of_its_weights_less_one_squared():
    discriminator = Linear(torch.linspace(0.1, 1.0, 16))
    norm = discriminator.weights.detach().norm()
    found = terms.gradient_penalty()(context(discriminator))
    torch.testing.assert_close(found, (norm - 1) ** 2)
    (slope,) = torch.autograd.grad(found, discriminator.weights)
    torch.testing.assert_close(slope, 2 * (norm - 1) * discriminator.weights / norm)
    torch.testing.assert_close(terms.gradient_penalty(target=0.0)(context(discriminator)), norm.square())


def test_the_gradient_penalty_looks_at_a_point_of_its_own_between_each_pair():
    given = context(Square(torch.zeros(16)))
    between = given.fake + given.u[:, None, None, None] * (given.real - given.fake)
    expected = ((2 * between).flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(terms.gradient_penalty()(given), expected)


def test_r1_is_half_the_squared_gradient_at_real_images():
    given = context(Square(torch.zeros(16)))
    torch.testing.assert_close(terms.r1()(given), (2 * given.real).flatten(1).square().sum(1).mean() / 2)


def test_patches_are_averaged_before_a_gradient_is_taken():
    discriminator = Linear(torch.linspace(0.1, 1.0, 16))

    def patches(images: torch.Tensor, condition: None) -> DiscriminatorOutput:
        return DiscriminatorOutput(discriminator(images, condition).score[:, None].expand(-1, 7))

    torch.testing.assert_close(terms.gradient_penalty()(context(patches)), terms.gradient_penalty()(context(discriminator)))


def test_pull_away_by_hand():
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, -2.0], [1.0, 1.0]])
    squares = {(0, 1): 1.0, (0, 2): 0.0, (0, 3): 0.5, (1, 2): 0.0, (1, 3): 0.5, (2, 3): 0.5}
    given = context(Linear(torch.ones(16)), fake_output=DiscriminatorOutput(torch.zeros(4), features=features))
    assert float(terms.pull_away()(given)) == pytest.approx(2 * sum(squares.values()) / (4 * 3))


def test_feature_matching_by_hand():
    given = context(Linear(torch.linspace(0.1, 1.0, 16)), "generator")
    apart = (given.real.flatten(1).mean(0) - given.fake.flatten(1).mean(0)) * torch.linspace(0.1, 1.0, 16)
    torch.testing.assert_close(terms.feature_matching()(given), apart.square().mean())


def test_differences_are_means_over_everything():
    given = context(Linear(torch.ones(16)), "generator")
    torch.testing.assert_close(terms.l1()(given), F.l1_loss(given.fake, given.real))
    torch.testing.assert_close(terms.l2()(given), F.mse_loss(given.fake, given.real))


def test_classification_adds_real_and_generated_images():
    labels, logits = torch.tensor([0, 2]), torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    real, fake = DiscriminatorOutput(REAL, class_logits=logits), DiscriminatorOutput(FAKE, class_logits=2 * logits)
    given = context(Linear(torch.ones(16)), condition=labels, real_output=real, fake_output=fake)
    both = F.cross_entropy(logits, labels) + F.cross_entropy(2 * logits, labels)
    torch.testing.assert_close(terms.classification()(given), both)
    torch.testing.assert_close(terms.classification()(given._replace(real_output=None)), both - F.cross_entropy(logits, labels))


def test_information_is_the_likelihood_of_class_and_codes_of_generated_images_alone():
    random = torch.Generator().manual_seed(0)
    noise, told = torch.randn(3, 6, generator=random), torch.randn(3, 2, generator=random)
    labels, logits = torch.tensor([0, 2, 1]), torch.randn(3, 4, generator=random)
    made = DiscriminatorOutput(torch.zeros(3), class_logits=logits, codes=told)
    given = context(
        Linear(torch.ones(16)), condition=labels, noise=noise, real_output=made._replace(class_logits=-logits), fake_output=made
    )
    normal = torch.distributions.Normal(told, 0.7).log_prob(noise[:, :2]).sum(1)
    constant = 2 * math.log(0.7 * math.sqrt(2 * math.pi))
    expected = F.cross_entropy(logits, labels) - normal.mean() - constant
    found = terms.information(deviation=0.7)
    torch.testing.assert_close(found(given), expected)
    torch.testing.assert_close(found(given._replace(real_output=None)), expected)
    of_classes = given._replace(fake_output=made._replace(codes=None), noise=None)
    torch.testing.assert_close(found(of_classes), F.cross_entropy(logits, labels))
    of_codes = given._replace(fake_output=made._replace(class_logits=None), condition=None)
    torch.testing.assert_close(found(of_codes), -normal.mean() - constant)


@pytest.mark.parametrize("seed", range(5))
def test_the_entropy_less_information_is_a_lower_bound_of_the_mutual_information(seed):
    """Of 3 classes that show as one of 4 images, by brute force: no guess gives more, the true posterior gives it."""
    random = torch.Generator().manual_seed(seed)
    shares = torch.rand(3, 4, generator=random)
    shares = (10 * shares / shares.sum(1, keepdim=True)).round().long() + 1  # how often each class shows as each image
    labels, images = shares.nonzero().repeat_interleave(shares.flatten(), 0).unbind(1)
    joint = shares / shares.sum()
    of_class, of_image = joint.sum(1), joint.sum(0)
    mutual = (joint * (joint / (of_class[:, None] * of_image)).log()).sum()
    entropy = -(of_class * of_class.log()).sum()

    def bound(logits: torch.Tensor) -> torch.Tensor:
        """Of a discriminator that tells of image i the classes' logits [:, i]."""
        judged = DiscriminatorOutput(torch.zeros(len(images)), class_logits=logits.T[images])
        return entropy - terms.information()(context(Linear(torch.ones(16)), condition=labels, fake_output=judged))

    torch.testing.assert_close(bound(joint.log()), mutual)
    for scale in (0.01, 0.5, 3.0):
        assert bound(joint.log() + scale * torch.randn(3, 4, generator=random)) < mutual


def test_gradients_of_a_classifier_are_those_of_its_images():
    """Equal images have equal gradients; the magnitude is what differs when the real ones' gradient is none."""
    given = context(Linear(torch.ones(16)), "generator", condition=torch.tensor([0, 1, 2, 1, 0]))
    alike = terms.gradient_difference()(given._replace(fake=given.real.clone().requires_grad_()))
    assert float(alike.detach()) == pytest.approx(0, abs=1e-6)
    network = terms._classifier("convnet", given)
    found = terms.gradient_magnitude()(given)
    parts = []
    for image, label in zip(given.fake, given.condition, strict=True):
        (slope,) = torch.autograd.grad(F.cross_entropy(network(image[None]), label[None]), image)
        parts.append(slope.norm())
    torch.testing.assert_close(found, -torch.stack(parts).mean())
    (push,) = torch.autograd.grad(found, given.fake)
    assert float(push.abs().max()) > 0


def labelled(side: str, **more) -> Context:
    """What `gradient_difference` and `gradient_magnitude` can look at in a step of a side."""
    return context(Linear(torch.ones(16)), side, condition=torch.tensor([0, 1, 2, 1, 0]), **more)


def test_gradients_of_a_trained_classifier_are_of_that_very_one():
    torch.manual_seed(0)
    trained = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).requires_grad_(False)
    given = labelled("generator", classifiers={"proxy": trained})
    error = [trained(images).softmax(1) - F.one_hot(given.condition, 3) for images in (given.fake, given.real)]
    made, real = (e @ trained[1].weight for e in error)  # of a linear classifier
    found = terms.gradient_magnitude(network="proxy")(given)
    torch.testing.assert_close(found, -made.norm(dim=1).mean())
    torch.testing.assert_close(terms.gradient_difference(network="proxy")(given), (made - real).norm(dim=1).mean())
    (push,) = torch.autograd.grad(found, given.fake)
    assert float(push.abs().max()) > 0


@pytest.mark.parametrize("name", ["gradient_difference", "gradient_magnitude"])
def test_gradients_are_the_same_number_on_both_sides_and_only_the_generators_can_be_followed(name):
    term = TERMS.build(name, {"network": "convnet(width=4, depth=1)"})()
    torch.manual_seed(0)
    of_generator = term(labelled("generator"))
    torch.manual_seed(0)
    of_discriminator = term(labelled("discriminator"))
    torch.testing.assert_close(of_generator, of_discriminator)
    assert of_generator.requires_grad and not of_discriminator.requires_grad


def test_a_fresh_classifier_has_the_options_given():
    torch.manual_seed(0)
    network = terms._classifier("convnet(width=4, depth=1)", labelled("generator"))
    assert sum(p.numel() for p in network.parameters()) == 4 * 9 + 4 + 8 + 3 * (4 * 16 * 16) + 3


def test_likelihoods_sum_over_an_image_and_average_over_the_batch():
    random = torch.Generator().manual_seed(0)
    made, real = torch.rand(4, 3, 5, 5, generator=random), torch.rand(4, 3, 5, 5, generator=random)
    expected = -torch.distributions.Bernoulli(made, validate_args=False).log_prob(real).sum((1, 2, 3)).mean()
    torch.testing.assert_close(bernoulli(made, real), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(bernoulli_over_channels(made, real), expected / 3, rtol=1e-4, atol=1e-4)
    normal = -torch.distributions.Normal(made, 0.5).log_prob(real).sum((1, 2, 3)).mean()
    constant = 75 * math.log(0.5 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(gaussian(made, real, deviation=0.5), normal - constant, rtol=1e-4, atol=1e-4)
