"""What does not fit together is told in one line, before anything starts."""

import pytest
import torch

from dsopt.config import AdversarialConfig, Choice, GenerateConfig
from dsopt.errors import InputError
from dsopt.pipeline import adversaries

DCGAN = {"generator": Choice("dcgan_generator"), "discriminator": Choice("dcgan_discriminator")}


def check(size: int = 32, **more) -> None:
    given = AdversarialConfig(**(DCGAN | more))
    with torch.device("meta"):
        adversaries.build("generate", given, (3, size, 10, 16), (3, size, 10))


def terms(*names: str) -> dict:
    return {"terms": [{"name": name, "weight": 1.0} for name in names]}


TOLD, JUDGES = {"condition": "concat"}, {"condition": "projection"}
FITTING = [
    {},
    {"generator": Choice("dcgan_generator", TOLD), "discriminator": Choice("sngan_discriminator", JUDGES)},
    {"discriminator": Choice("dcgan_discriminator", {"norm": "none"}), **terms("gradient_penalty")},
    {"discriminator": Choice("sngan_discriminator"), **terms("r1", "feature_matching")},
    {"discriminator": Choice("energy_discriminator"), "loss": Choice("energy"), **terms("pull_away")},
    {"loss": Choice("none"), **terms("l1")},
    {
        "generator": Choice("infogan_generator", TOLD),
        "discriminator": Choice("infogan_discriminator", {"condition": "auxiliary"}),
        **terms("classification", "gradient_difference"),
    },
    {
        "generator": Choice("dcgan_generator", TOLD),
        "loss": Choice("none"),
        "terms": [{"name": "gradient_difference", "side": "both", "options": {"network": "teacher"}}],
    },
    {"discriminator": Choice("dcgan_discriminator", {"codes": 16}), **terms("information")},
    {
        "generator": Choice("infogan_generator", TOLD),
        "discriminator": Choice("infogan_discriminator", {"condition": "auxiliary"}),
        **terms("information"),
    },
    {
        "generator": Choice("mlp_generator", TOLD),
        "discriminator": Choice("mlp_discriminator", {"condition": "auxiliary", "codes": 2}),
        **terms("information", "classification"),
    },
]
WRONG = [
    ({"size": 30}, r"data.image_size=30: dcgan_generator does not support this size; expected multiples of 4 from 8 pixels\."),
    (
        {"loss": Choice("energy")},
        r"generate.loss.name=energy: needs an autoencoder as discriminator; dcgan_discriminator is not one\.",
    ),
    ({"discriminator": Choice("energy_discriminator")}, r"energy_discriminator: is an autoencoder; expected loss.name=energy\."),
    (terms("gradient_penalty"), r"generate.terms: gradient_penalty: dcgan_discriminator has batch normalization.*norm=none\."),
    (
        {"generator": Choice("dcgan_generator", TOLD)},
        r"dcgan_generator is conditioned on the class, dcgan_discriminator is unconditional; expected",
    ),
    (
        {"discriminator": Choice("dcgan_discriminator", JUDGES)},
        r"dcgan_generator is unconditional, dcgan_discriminator is conditioned on the class",
    ),
    (terms("classification"), r"generate.terms: classification needs a class-conditional generator, which dcgan_generator is not"),
    (
        {
            "generator": Choice("dcgan_generator", TOLD),
            "discriminator": Choice("dcgan_discriminator", {"condition": "auxiliary"}),
        },
        r"generate.discriminator.options.condition=auxiliary: needs the term classification or information\.",
    ),
    (
        {
            "generator": Choice("dcgan_generator", TOLD),
            "discriminator": Choice("dcgan_discriminator", JUDGES | {"codes": 2}),
            **terms("classification", "information"),
        },
        r"generate.terms: classification needs discriminator.options.condition=auxiliary\.",
    ),
    (terms("information"), r"generate.terms: information needs discriminator.options.condition=auxiliary, codes=2 or both\."),
    (
        {"discriminator": Choice("dcgan_discriminator", {"codes": 2})},
        r"generate.discriminator.options.codes=2: needs the term information\.",
    ),
    (
        {"discriminator": Choice("dcgan_discriminator", {"codes": 17}), **terms("information")},
        r"generate.discriminator.options.codes=17: must be 0 to 16, the latent dimension\.",
    ),
    (
        {"discriminator": Choice("dcgan_discriminator", {"codes": -1}), **terms("information")},
        r"generate.discriminator.options.codes=-1: must be 0 to 16, the latent dimension\.",
    ),
    (
        {
            "discriminator": Choice("energy_discriminator", {"codes": 2}),
            "loss": Choice("energy"),
            **terms("information"),
        },
        r"model energy_discriminator: option 'codes' is not known\.",
    ),
    (
        {"terms": [{"name": "information", "options": {"deviation": 0}}]},
        r"generate.terms: .*: deviation=0.0: must be above 0\.",
    ),
    (
        {"terms": [{"name": "information", "side": "generator"}]},
        r"generate.terms: .*: side 'generator' is not known\..* Valid: both\.",
    ),
    (
        {"generator": Choice("mlp_generator"), "discriminator": Choice("energy_discriminator"), "loss": Choice("energy")},
        r"generate.discriminator.name=energy_discriminator: black must be -1.0, but mlp_generator has it at 0.0\.",
    ),
    ({"loss": Choice("none")}, r"generate.loss.name=none: needs a term to learn from"),
    ({"loss": Choice("none"), **terms("r1")}, r"generate.terms: r1 needs a discriminator, but loss.name=none trains none\."),
    (
        {"terms": [{"name": "gradient_penalti"}]},
        r"generate.terms: .*: term 'gradient_penalti' is not known\. Did you mean 'gradient_p",
    ),
    ({"terms": [{"name": "gradient_penalty", "options": {"aim": 0}}]}, r"option 'aim' is not known\..* Valid: target\."),
    (
        {"terms": [{"name": "gradient_magnitude", "options": {"network": "convne"}}]},
        r"classifier 'convne' is not known\. Did you mean 'convnet'",
    ),
    (
        {"terms": [{"name": "gradient_magnitude", "options": {"network": "convnet(widht=4)"}}]},
        r"model convnet: option 'widht' is not known\. Did you mean 'width'",
    ),
    (
        {"terms": [{"name": "gradient_magnitude", "options": {"network": "proxi"}}]},
        r"classifier 'proxi' is not known\. Did you mean 'proxy'",
    ),
    (
        {"terms": [{"name": "gradient_magnitude", "options": {"network": "proxy(width=4)"}}]},
        r"classifier proxy\(width=4\): its options are the keys of proxy, such as proxy.options.width\.",
    ),
    (
        {"terms": [{"name": "gradient_magnitude", "side": "discriminater"}]},
        r"generate.terms: .*: side 'discriminater' is not known\. Did you mean 'discriminator'\?",
    ),
    ({"terms": [{"name": "l1", "side": "both"}]}, r"generate.terms: .*: side 'both' is not known\..* Valid: generator\."),
    (
        {
            "generator": Choice("dcgan_generator", TOLD),
            "loss": Choice("none"),
            "terms": [{"name": "gradient_difference", "side": "discriminator"}],
        },
        r"generate.loss.name=none: needs a term to learn from",
    ),
]


@pytest.mark.parametrize("fitting", FITTING)
def test_what_fits_is_taken(fitting):
    check(**fitting)


@pytest.mark.parametrize("wrong, says", WRONG)
def test_what_does_not_fit_is_told_in_one_line(wrong, says):
    with pytest.raises(InputError, match=says) as raised:
        check(**wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong, says",
    [
        (
            {"generator": Choice("dcgan_generator")},
            r"generate.likelihood.name=bernoulli: needs images in 0..1; dcgan_generator generates -1",
        ),
        (
            {"generator": Choice("infogan_generator", TOLD)},
            r"infogan_generator is conditioned on the class, infogan_encoder is unconditional; expected",
        ),
        ({"generator": Choice("infogan_generator"), "noise": "uniform"}, r"generate.noise=uniform: must be normal"),
    ],
)
def test_an_autoencoder_that_does_not_fit(wrong, says):
    with pytest.raises(InputError, match=says), torch.device("meta"):
        adversaries.autoencoder("generate", GenerateConfig(**wrong), (3, 32, 10))


def test_colors_are_not_moved_away_from_their_lightness():
    networks = {"generator": Choice("unet"), "discriminator": Choice("patch_discriminator")}
    given = AdversarialConfig(**networks, differentiable=["translation"])
    with pytest.raises(InputError, match=r"colorize.differentiable=\['translation'\]: would move"), torch.device("meta"):
        adversaries.build("colorize", given, (3, 32), (3, 32, 0))


@pytest.mark.parametrize(
    "loss, given, words",
    [
        ("hinge", [], "hinge"),
        ("none", [{"name": "l1", "weight": 100.0}], "100 l1"),
        ("hinge", [{"name": "r1", "weight": 0.5}, {"name": "l1", "side": "generator"}], "hinge + 0.5 r1 + 1 l1"),
        (
            "hinge",
            [{"name": "gradient_difference", "side": side} for side in ("generator", "discriminator", "both")],
            "hinge + 1 gradient_difference + 1 gradient_difference (discriminator) + 1 gradient_difference (both)",
        ),
        ("hinge", [{"name": "classification"}], "hinge + 1 classification"),  # both, which is its own
    ],
)
def test_a_loss_in_words_tells_terms_of_two_sides_apart(loss: str, given: list, words: str) -> None:
    assert adversaries.loss_in_words(loss, given) == words
