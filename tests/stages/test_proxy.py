"""A proxy's judgement: the scores table, embeddings from its features, soft labels, and what they cost."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from running import SMALL

import dsopt
from dsopt.config import Config, load
from dsopt.errors import InputError
from dsopt.jobs import train as job
from dsopt.pipeline.plan import Plan
from dsopt.stages import embed, select
from dsopt.storage import Stage, Table, with_image_feature
from dsopt.training.dynamics import SCORES

JUDGE = [f"{role}.{key}" for role in ("proxy", "teacher") for key in ("batch_size=64", "options.width=8", "precision=fp32")]
QUICK = ["cluster.workers=0", *SMALL, *JUDGE, "embed.batch_size=512", "data.limit=400", "proxy.steps=21", "teacher.steps=35"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def settings(storage: str, *overrides: str) -> Config:
    return load([f"storage={storage}", *QUICK, *overrides])


def subset(storage: str, *overrides: str) -> Stage:
    plan = Plan(settings(storage, *overrides))
    stage = select.subset(plan, plan.config.select, plan.config.seed)
    plan.run(stage)
    return stage


def embedded(config: Config) -> Stage:
    plan = Plan(config)
    stage = embed.embeddings(plan)
    plan.run(stage)
    return stage


@pytest.mark.slow
def test_the_scores_table_has_every_score_of_every_image(storage: str) -> None:
    stage = subset(storage, "select.name=ccs", "select.budget=50").inputs["scores"]
    table = Table(stage.uri)
    rows = table.read()
    assert set(rows.column_names) == {"id", "label", *SCORES}
    assert rows["id"].to_pylist() == Table(stage.inputs["images"].uri).read("train", ["id"])["id"].to_pylist()
    for name in SCORES:
        values = rows[name].combine_chunks()
        flat = values.flatten() if name == "probability" else values
        assert np.isfinite(flat.to_numpy()).all(), name
        assert len(np.unique(flat.to_numpy())) > (1 if name == "forgetting" else 20), name
    probability = rows["probability"].combine_chunks().flatten().to_numpy().reshape(-1, 10)
    assert np.allclose(probability.sum(1), 1, atol=1e-3)
    right = (probability.argmax(1) == rows["label"].to_numpy()).mean()
    assert right == pytest.approx(table.manifest["train_accuracy"]) and right > 0.3  # of ten classes
    assert table.manifest["seconds"] > 0 and table.manifest["steps"] == 21


@pytest.mark.slow
def test_an_interrupted_proxy_goes_on_with_what_it_has_seen(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Table(subset(storage, "select.name=ccs", "select.budget=50").inputs["scores"].uri).read()
    from dsopt.pipeline import training

    real, saved = training.write_bytes, []

    def fails_after_a_checkpoint(uri: str, data: Any) -> None:
        real(uri, data)
        if uri.endswith("checkpoint.pt"):
            saved.append(uri)
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "write_bytes", fails_after_a_checkpoint)
    other = ["select.name=ccs", "select.budget=50"]
    with pytest.raises(KeyboardInterrupt):
        subset(str(tmp_path), *other)
    monkeypatch.setattr(training, "write_bytes", real)
    found = Table(subset(str(tmp_path), *other).inputs["scores"].uri).read()
    assert saved
    for name in expected.column_names:
        left, right = (t[name].combine_chunks() for t in (found, expected))
        left, right = (x.flatten() if name == "probability" else x for x in (left, right))
        assert np.allclose(left.to_numpy(), right.to_numpy(), atol=1e-4), name


@pytest.mark.slow
def test_soft_labels_are_a_column_that_training_and_users_understand(storage: str) -> None:
    hard = subset(storage, "select.name=random_balanced", "select.budget=60")
    soft = subset(storage, "select.name=random_balanced", "select.budget=60", "select.soft_labels=teacher", "select.views=3")
    assert soft.hash != hard.hash and "judge" in soft.inputs and soft.inputs["judge"].kind.name == "teacher"
    rows, plain_rows = Table(soft.uri).read(), Table(hard.uri).read()
    assert rows.select(["id", "image", "label", "rank"]).equals(plain_rows.select(["id", "image", "label", "rank"]))
    labels = rows["soft_label"].combine_chunks().flatten().to_numpy().reshape(-1, 10)
    assert np.allclose(labels.sum(1), 1, atol=1e-3) and labels.max() < 1
    assert select.cost(soft) > select.cost(hard) + Table(soft.inputs["judge"].uri).manifest["seconds"] - 1e-6
    users = dsopt.load_subset(soft.uri)
    assert torch.allclose(users[3][1], torch.tensor(labels[3])) and isinstance(dsopt.load_subset(hard.uri)[3][1], int)
    plan = Plan(settings(storage, "train.steps=40", f"train.subset={soft.uri}", "train.split=1"))
    (stage,) = job.targets(plan)
    plan.run(stage)
    losses = [r["value"] for r in Table(stage.uri).read().to_pylist() if r["split"] == "train" and r["name"] == "loss"]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_soft_label_may_keep_a_part_of_the_given_one(storage: str) -> None:
    chosen = ("select.name=random_balanced", "select.budget=60", "select.soft_labels=teacher", "select.views=3")
    whole, half = subset(storage, *chosen), subset(storage, *chosen, "select.soft_share=0.25")
    assert whole.hash != half.hash and subset(storage, *chosen, "select.soft_share=1").hash == whole.hash
    found = [Table(stage.uri).read()["soft_label"].combine_chunks().flatten().to_numpy().reshape(-1, 10) for stage in (whole, half)]
    given = np.eye(10)[Table(half.uri).read()["label"].to_numpy()]
    assert np.allclose(found[1], 0.25 * found[0] + 0.75 * given, atol=1e-6)


def test_soft_labels_tell_hugging_face_what_they_are() -> None:
    schema = pa.schema([("id", pa.int64()), ("soft_label", pa.list_(pa.float32(), 3))])
    datasets = pytest.importorskip("datasets")
    features = datasets.Features.from_arrow_schema(with_image_feature(schema))
    assert features["soft_label"].length == 3


@pytest.mark.slow
def test_embeddings_from_the_proxy(storage: str) -> None:
    stage = subset(storage, "select.name=top_activation", "embed.encoder=proxy").inputs["embeddings"]
    assert stage.inputs["proxy"].kind.name == "proxy"
    values = Table(stage.uri).read()["embedding"].combine_chunks().to_numpy_ndarray()
    assert values.shape == (Table(stage.inputs["images"].uri).rows("train"), 192) and (values >= 0).all() and values.std() > 0


def test_a_judge_must_see_every_image(storage: str) -> None:
    with pytest.raises(InputError, match=r"proxy\.steps=3: must be at least \d"):
        subset(storage, "select.name=ccs", "proxy.steps=3")
