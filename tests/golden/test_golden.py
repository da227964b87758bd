"""Twenty steps of every learner give the losses they always gave. A change that means to change them runs

    DSOPT_WRITE_GOLDEN=1 python -m pytest tests/golden

and says in its message why.
"""

import json
import os
from pathlib import Path

import pytest

from dsopt import config as configuration
from dsopt.pipeline.plan import Plan
from dsopt.stages import autoencoder, classifier, generator, ingest
from dsopt.stages.classifier import Row
from dsopt.storage import Table
from dsopt.training.worker import Worker

HERE = Path(__file__).parent
SETTINGS = ["cluster.workers=0", "train.precision=fp32", "autoencoder.precision=fp32", "train.batch_size=32"]
SETTINGS += ["autoencoder.batch_size=32", "train.steps=20", "autoencoder.steps=20", "generate.steps=20", "generate.batch_size=32"]
GENERATORS = {
    "adversarial": [
        "generate.generator={name: dcgan_generator, options: {width: 4, condition: batch_norm}}",
        "generate.discriminator={name: dcgan_discriminator, options: {width: 4, norm: spectral, condition: projection}}",
        "generate.loss.name=hinge",
        "generate.terms=[{name: gradient_penalty, weight: 1}, {name: feature_matching, weight: 1}]",
        "generate.discriminator_steps=2",
        "generate.differentiable=[color, translation, cutout]",
    ],
    "information": [
        "generate.generator={name: infogan_generator, options: {width: 4, condition: concat}}",
        "generate.discriminator={name: infogan_discriminator, options: {width: 4, condition: auxiliary, codes: 2}}",
        "generate.terms=[{name: information}]",
        "generate.noise=uniform",
    ],
    "variational": [
        "generate.learner=variational",
        "generate.generator={name: infogan_generator, options: {width: 4, condition: concat}}",
        "generate.encoder={name: infogan_encoder, options: {width: 4, condition: concat}}",
    ],
}


def losses(learner: str, storage: str) -> list[float]:
    """Of the stage as a job makes it, on digits."""
    loss = "wasserstein" if learner == "wasserstein" else "squared_error"
    plan = Plan(configuration.load([f"storage={storage}", f"loss.name={loss}", *SETTINGS, *GENERATORS.get(learner, [])]))
    images = ingest.images(plan)
    if learner == "classifier":
        stage = classifier.run(plan, Row("full", "full", 0.0, images), 0)
    elif learner in GENERATORS:
        stage = generator.model(plan, images, 0)
    else:
        stage = autoencoder.model(plan)
    for step in plan.to(stage):
        if not step.stage.done():  # the data set, which all of them learn from
            step.work(Worker(), step.stage, step.config)
    rows = Table(stage.uri).read().to_pylist()
    return [row["value"] for row in rows if row["split"] == "train" or row["name"] != "accuracy"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All learn from the same digits, which are read once."""
    return str(tmp_path_factory.mktemp("storage"))


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["classifier", "autoencoder", "wasserstein", *GENERATORS])
def test_losses_are_the_golden_ones(learner: str, storage: str) -> None:
    found, path = losses(learner, storage), HERE / f"{learner}.json"
    if os.environ.get("DSOPT_WRITE_GOLDEN"):
        path.write_text(json.dumps([float(f"{value:.6g}") for value in found]) + "\n")
    # Processors differ in the last digits, and twenty steps carry that on.
    assert found == pytest.approx(json.loads(path.read_text()), rel=1e-3)
