"""The presets that follow a paper to the letter."""

import pytest

from dsopt import config as configuration
from dsopt.config import variant


@pytest.mark.slow
def test_the_selection_paper() -> None:
    """Sections 4.1 to 5 of the preprint; the conference version differs in the classifier's momentum alone."""
    paper, conference = (configuration.load([f"preset={name}"]) for name in ("paper", "paper_conference"))
    train, autoencoder = paper.train, paper.autoencoder
    assert (train.name, train.optimizer, train.learning_rate, train.momentum) == ("classifier24", "sgd", 0.1, 0.9)
    assert (train.schedule.name, train.weight_decay, train.decay) == ("constant", 0.004, "dense")
    assert (train.standardise, train.precision, train.average) == ("variance", "fp32", 0.9999)
    assert train.augment == ["crop", "flip", "brightness", "contrast"]
    assert (train.steps, train.batch_size) == (10_000, 1024) and (autoencoder.steps, autoencoder.batch_size) == (40_000, 1024)
    assert (autoencoder.learning_rate, autoencoder.momentum, autoencoder.precision) == (0.1, 0.9, "fp32")
    assert (autoencoder.schedule.name, paper.loss.name) == ("constant", "squared_error")
    assert (paper.select.name, paper.select.budget, paper.compare.seeds) == ("top_activation", 4320, 2)
    assert {1.0, 0.95, 0.9, 0.5} <= set(paper.compare.splits)
    assert conference.train.momentum == 0 and conference.autoencoder.momentum == 0.9
    assert variant(conference, ["train.momentum=0.9"]) == paper


def test_its_fixed_budget() -> None:
    config = configuration.load(["preset=paper_budget"])
    assert variant(config, config.sweep.rows["TOP_ACTIVATION"]).train.phases == [
        {"data": "subset", "steps": 5000},
        {"data": "full", "until_seconds": 420.0},
    ]
    assert variant(config, config.sweep.rows["TOP_ACTIVATION_864"]).select.budget == 0.864 * 50_000
    assert variant(config, config.sweep.rows["FULL"]).train.phases == [{"data": "full", "until_seconds": 420.0}]
    assert config.sweep.seeds == 4


def test_the_augmentation_paper() -> None:
    """Sections 2 and 3."""
    for name, latent, held_out in (
        ("study_augmentation_full", 100, 7_500 / 50_000),
        ("study_augmentation_mnist", 62, 17_500 / 60_000),
    ):
        config = configuration.load([f"preset={name}"])
        paper = ["ORIG", "AUGORIG", "BLUR", "ROT", "ROTBLUR", "CDCVAE", "CDCGAN"]
        assert [row for row in config.sweep.rows if row in paper] == paper
        assert config.sweep.grid["select"]["budget"] == [425 * share for share in (1, 2, 5, *range(10, 101, 10))]
        for row in ("CDCVAE", "CDCGAN"):
            made = variant(config, config.sweep.rows[row])
            train, generate = made.train, made.generate
            assert (train.optimizer, train.learning_rate, train.average, train.standardise) == ("adam", 0.001, 0, "none")
            assert (train.passes, train.keep, train.validate_passes, train.options["width"]) == (200, "best", 1, 64)
            assert abs(train.validation - held_out) < 1e-6 and train.validate_on == "unselected"
            assert (generate.epochs, generate.latent, generate.beta1, generate.average) == (500, latent, 0.5, 0)
        assert made.generate.discriminator_rate == 2e-4
        vae = variant(config, config.sweep.rows["CDCVAE"]).generate
        assert vae.encoder.options["softplus"] == "variance"
