"""What every adversarial loss, term, generator and discriminator promises; a new one is tested by being there."""

import io

import pytest
import torch
from small_adversaries import CONDITIONS, DISCRIMINATORS, LATENT, SIZE, batch, learner, pairs, settings, with_term

from dsopt.config import AdversarialConfig
from dsopt.learners.adversarial import AdversarialLearner
from dsopt.registry import ADVERSARIAL, MODELS, TERMS
from dsopt.seeds import derive
from dsopt.training.loop import Learner


def steps(found: AdversarialLearner, start: int, stop: int) -> list[dict[str, float]]:
    """As the loop takes them."""
    numbers = []
    for step in range(start, stop):
        torch.manual_seed(derive(batch(step).seed, 0))
        numbers.append({name: float(value) for name, value in found.update(batch(step)).items()})
    return numbers


def weights(found: AdversarialLearner) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": p.detach().clone() for name, n in found.networks.items() for key, p in n.named_parameters()}


def assert_learns(given: AdversarialConfig, steps_taken: int = 3) -> list[dict[str, float]]:
    """Both networks move, all numbers are finite, and a run that was interrupted goes on to the last bit."""
    whole = learner(given)
    assert isinstance(whole, Learner)
    before = weights(whole)
    expected = steps(whole, 0, steps_taken)
    after = weights(whole)
    assert all(
        torch.isfinite(torch.tensor(list(row.values()))).all() and {"loss", "generator_loss"} <= set(row) for row in expected
    )
    for name in whole.networks:
        moved = [not torch.equal(before[key], after[key]) for key in before if key.startswith(f"{name}.")]
        assert sum(moved) > len(moved) / 2, name
    first = learner(given)
    begun = steps(first, 0, 1)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    resumed = learner(given)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    torch.rand(3)
    assert begun + steps(resumed, 1, steps_taken) == expected
    assert all(torch.equal(value, after[key]) for key, value in weights(resumed).items())
    noise, labels = torch.randn(4, LATENT), torch.tensor([0, 1, 2, 0])
    made = whole.generate(noise, labels)
    assert (
        made.shape == (4, 1, SIZE, SIZE) and float(made.min()) >= MODELS.traits(given.generator.name).low and float(made.max()) <= 1
    )
    torch.testing.assert_close(resumed.generate(noise, labels), made, rtol=0, atol=0)
    return expected


def test_there_are_those_of_the_papers():
    assert {"non_saturating", "minimax", "least_squares", "hinge", "wasserstein", "energy", "none"} <= set(ADVERSARIAL.names())
    assert {"gradient_penalty", "r1", "pull_away", "l1", "l2", "feature_matching", "classification"} <= set(TERMS.names())


@pytest.mark.parametrize("loss, judge", pairs())
def test_a_loss_with_a_discriminator(loss, judge):
    assert_learns(settings("dcgan_generator", judge, loss))


@pytest.mark.parametrize("generator, condition", CONDITIONS)
def test_a_generator_that_is_class_conditional(generator, condition):
    assert_learns(settings(generator, "dcgan_discriminator", told=(condition, "projection")))


@pytest.mark.parametrize("judge", DISCRIMINATORS)
def test_a_discriminator_that_is_class_conditional(judge):
    told = "projection" if "projection" in str(MODELS.function(judge).__annotations__["condition"]) else "concat"
    loss = "energy" if MODELS.traits(judge).energy else "hinge"
    assert_learns(settings("dcgan_generator", judge, loss, ("batch_norm", told)))


@pytest.mark.parametrize("term", TERMS.names())
def test_a_term(term):
    rows = assert_learns(with_term(term))
    keys = {key for key in rows[0] if term in key}
    assert len({row[key] for row in rows for key in keys}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("judge", [name for name in DISCRIMINATORS if "codes" in MODELS.defaults(name)])
def test_a_discriminator_that_tells_the_codes(judge):
    """It comes to know more of the noise than one that always tells the same, whose error is half the variance of two numbers."""

    def given() -> AdversarialConfig:
        terms, telling = [{"name": "information", "weight": 5}], {"codes": 2, "width": 20}
        return settings("dcgan_generator", judge, "non_saturating", judge=telling, terms=terms)

    rows = assert_learns(given())
    assert {"generator_information", "discriminator_information"} <= set(rows[0])
    enough = 160 if judge == "sngan_discriminator" else 60
    last = [row["generator_information"] for row in steps(learner(given()), 0, enough)[-40:]]
    assert sum(last) / len(last) < 0.8


GRADIENTS = ["gradient_difference", "gradient_magnitude"]


def trained_with(*terms: dict, loss: str = "hinge", **more) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """The weights and numbers of a few steps with terms."""
    given = settings("dcgan_generator", "dcgan_discriminator", loss, ("concat", "projection"), terms=[*terms], **more)
    found = learner(given)
    numbers = steps(found, 0, 3)
    return weights(found), numbers


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], network: str) -> bool:
    return all(torch.equal(value, right[key]) for key, value in left.items() if key.startswith(f"{network}."))


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_gradient_on_the_discriminators_side_changes_nothing_but_the_number_of_its_loss(name):
    term = {"name": name, "weight": 3.0, "side": "discriminator", "options": {"network": "convnet(width=4)"}}
    plain, without = trained_with()
    moved, found = trained_with(term)
    assert same(plain, moved, "discriminator") and same(plain, moved, "generator")
    assert [row["generator_loss"] for row in found] == [row["generator_loss"] for row in without]
    for row, other in zip(found, without, strict=True):
        assert row[name] != 0 and row["loss"] == pytest.approx(other["loss"] + 3 * row[name], rel=1e-4)


def test_two_terms_of_one_name_on_two_sides_have_a_number_each():
    of = {"name": GRADIENTS[0], "options": {"network": "proxy"}}
    _, rows = trained_with(of | {"side": "generator"}, of | {"side": "discriminator", "weight": 3.0})
    assert set(rows[0]) == {"loss", "generator_loss", *(f"{side}_{GRADIENTS[0]}" for side in ("generator", "discriminator"))}
    _, alone = trained_with(of | {"side": "generator"})
    assert rows[0][f"generator_{GRADIENTS[0]}"] == alone[0][GRADIENTS[0]]


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_gradient_on_both_sides_trains_as_one_on_the_generators_side(name):
    """By a trained classifier, as a fresh one would be another for each side."""
    term = {"name": name, "options": {"network": "proxy"}}
    plain, _ = trained_with()
    alone, _ = trained_with(term)
    both, numbers = trained_with(term | {"side": "both"})
    assert not same(plain, alone, "generator") and same(alone, both, "generator") and same(alone, both, "discriminator")
    assert {f"discriminator_{name}", f"generator_{name}"} <= set(numbers[0])


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_generator_learns_from_a_gradient_alone(name):
    term = {"name": name, "options": {"network": "convnet(width=4)"}}
    assert_learns(settings("dcgan_generator", "dcgan_discriminator", "none", ("concat", "none"), terms=[term]))


def test_a_discriminator_at_rate_0_stays_as_it_was():
    before = weights(learner(settings("dcgan_generator", "dcgan_discriminator", told=("concat", "projection"))))
    after, _ = trained_with(discriminator_rate=0.0)
    assert same(before, after, "discriminator") and not same(before, after, "generator")


@pytest.mark.parametrize(
    "more",
    [
        {"discriminator_steps": 2},
        {"eager_steps": 3},
        {"clip": 0.01},
        {"optimizer": "rmsprop"},
        {"average": 0.0},
        {"precision": "bf16"},
        {"differentiable": ["color", "translation", "cutout"]},
    ],
)
def test_a_way_of_training(more):
    assert_learns(settings("dcgan_generator", "dcgan_discriminator", **more), 4)


@pytest.mark.parametrize("family", [ADVERSARIAL, TERMS])
def test_it_is_documented(family):
    assert all(family.summary(name) for name in family.names())
