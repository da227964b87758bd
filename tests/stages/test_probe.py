"""The probe: as good as scikit-learn's, judged by what has not seen an image, and in the place of the proxy and the teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from dsopt.config import load
from dsopt.errors import InputError
from dsopt.learners.probe import fit, probe
from dsopt.pipeline.plan import Plan
from dsopt.stages import classifier, select
from dsopt.storage import Table

X, Y = load_digits(return_X_y=True)
SMALL = ["cluster.workers=0", "data.limit=300", "autoencoder.steps=20", "autoencoder.options.width=8", "select.budget=30"]


@pytest.mark.slow
def test_as_good_as_that_of_scikit_learn() -> None:
    embeddings, labels = torch.from_numpy(X).float(), torch.from_numpy(Y)
    found = probe(embeddings, labels, 10, 0)
    accuracy = float((found.logits.argmax(1) == labels).float().mean())
    expected = cross_val_score(LogisticRegression(C=0.1, max_iter=300), StandardScaler().fit_transform(X), Y, cv=5).mean()
    assert accuracy > expected - 0.01 > 0.9
    assert torch.equal(found.logits, probe(embeddings, labels, 10, 0).logits)


def test_nothing_is_judged_by_what_has_seen_it() -> None:
    """Random labels cannot be known without having seen them, though a linear classifier could learn these by heart."""
    torch.manual_seed(0)
    embeddings, labels = torch.randn(200, 400), torch.randint(0, 2, (200,))
    seen = []
    found = probe(embeddings, labels, 2, 0, epochs=60, observe=lambda i, label, logits: seen.append(logits.argmax(1) == label))
    assert float(torch.cat(seen[-5:]).float().mean()) < 0.65
    assert float((found.logits.argmax(1) == labels).float().mean()) < 0.65


def test_few_images_are_learned_as_well_as_by_scikit_learn() -> None:
    """150 of 64 numbers: with batches of 512 they would be one step a pass."""
    embeddings, labels = torch.from_numpy(X).float(), torch.from_numpy(Y)
    few = torch.randperm(len(X), generator=torch.Generator().manual_seed(0)) < 150
    draw, everywhere = torch.Generator().manual_seed(0), torch.ones(150, 1, dtype=torch.bool)
    found = fit(embeddings[few], labels[few], everywhere, 10, draw)
    accuracy = float((found.logits(found.features(embeddings[~few]))[:, 0].argmax(1) == labels[~few]).float().mean())
    scaler = StandardScaler().fit(X[few])
    other = LogisticRegression(max_iter=300).fit(scaler.transform(X[few]), Y[few])
    assert accuracy > other.score(scaler.transform(X[~few]), Y[~few]) - 0.02 > 0.8


@pytest.mark.slow
def test_it_is_proxy_and_teacher(tmp_path: Path) -> None:
    config = load([*SMALL, f"storage={tmp_path}", "proxy.name=probe", "teacher.name=probe", "select.name=el2n"])
    plan = Plan(load([*SMALL, f"storage={tmp_path}", "proxy.name=probe", "teacher.name=probe", "select.soft_labels=teacher"]))
    for settings in (config.select, plan.config.select):
        stage = select.subset(plan.having(config), settings, 0)
        plan.run(stage)
        assert len(Table(stage.uri).read()) == 30
    rows = Table(stage.uri).read().to_pylist()
    scores = {row["id"]: row["probability"] for row in Table(stage.inputs["judge"].uri).read().to_pylist()}
    assert all(np.allclose(row["soft_label"], scores[row["id"]], atol=1e-6) for row in rows)
    judge = Table(stage.inputs["judge"].uri)
    assert judge.manifest["accuracy"] > 0.3 and set(scores) == set(
        Table(stage.inputs["images"].uri).read("train")["id"].to_pylist()
    )


@pytest.mark.slow
def test_a_sampler_goes_by_its_scores(tmp_path: Path) -> None:
    sampler = ["train.sampler.name=easy_to_hard", "train.split=0", "train.steps=4", "train.batch_size=16", "train.options.width=8"]
    plan = Plan(load([*SMALL, f"storage={tmp_path}", "proxy.name=probe", *sampler]))
    stage = classifier.alone(plan)
    plan.run(stage)
    assert stage.inputs["scores"].kind.name == "probe" and stage.done()


@pytest.mark.slow
def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for given, says in [
        (["train.name=probe"], "classifier 'probe' is not known"),
        (["proxy.name=probe", "embed.encoder=proxy", "select.name=el2n"], "the proxy is a probe of the embeddings"),
        (["proxy.name=probe", "embed.encoder=proxy"], "a probe of embeddings takes no images, which are needed here"),
        (
            ["proxy.name=probe", "select.name=el2n", "probe.folds=200"],
            "244 images; expected at least two a fold",
        ),
    ]:
        with pytest.raises(InputError, match=says):
            config = load([*SMALL, f"storage={tmp_path}", *given])
            plan = Plan(config)
            plan.run(select.subset(plan, config.select, 0))
