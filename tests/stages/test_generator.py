"""Training a generator and making images with it: resumed as undisturbed, the same on any devices, of use as data."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dsopt
from dsopt.config import Config, load
from dsopt.errors import InputError, JobError
from dsopt.jobs import train as job
from dsopt.learners.adversarial import AdversarialLearner
from dsopt.pipeline.plan import Plan
from dsopt.stages import generator, proxy, samples, select
from dsopt.storage import Stage, Table
from dsopt.training.worker import Worker

# Two perceptrons, told the classes.
TINY = [
    *("data.name=digits", "data.limit=300", "data.image_size=24", "cluster.workers=0"),
    *("generate.generator.name=mlp_generator", "generate.generator.options={width: 16, condition: concat}"),
    *("generate.discriminator.name=mlp_discriminator", "generate.discriminator.options={width: 20, condition: concat}"),
    *("generate.latent=8", "generate.batch_size=16", "generate.steps=60"),
]


def config(storage: str | Path, *overrides: str) -> Config:
    return load([f"storage={storage}", *TINY, *overrides])


def made(storage: str | Path, *overrides: str, count: int | float = 1.0, seed: int = 0) -> Stage:
    """The samples of a generator trained as configured."""
    plan = Plan(config(storage, *overrides))
    stage = samples.images(plan, generator.base(plan), count, seed)
    plan.run(stage)
    return stage


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def test_samples_are_balanced_images_of_the_same_kind(storage: str) -> None:
    stage = made(storage)
    table, subset = Table(stage.uri), dsopt.load_subset(stage.uri)
    learned_from = generator.learned_from(stage.inputs["generator"])
    assert len(subset) == learned_from.rows("train") and subset.images.shape[1:] == (1, 24, 24)
    counts = torch.bincount(subset.labels)
    assert len(counts) == 10 and int(counts.max() - counts.min()) <= 1
    assert table.manifest["labelled"] and table.manifest["classes"] == learned_from.manifest["classes"]
    assert set(table.read(columns=["key"])["key"].to_pylist()) == {stage.inputs["generator"].folder}
    assert subset.images.float().std() > 1


def test_of_training_there_remain_numbers_and_snapshots(storage: str) -> None:
    model = made(storage).inputs["generator"]
    manifest = Table(model.uri).manifest
    assert [snapshot["step"] for snapshot in manifest["snapshots"]] == [0, 20, 40, 60]
    pictures = [dsopt.data.images.decode(dsopt.files.read_table(model.path(s["path"]))) for s in manifest["snapshots"]]
    assert all(len(p.images) == 20 and p.labels.tolist() == [*range(10)] * 2 for p in pictures)
    assert not torch.equal(pictures[0].images, pictures[-1].images)
    names = set(Table(model.uri).read()["name"].to_pylist())
    assert names == {"loss", "generator_loss"}


@pytest.mark.slow
@pytest.mark.parametrize("learner", ["adversarial", "variational"])
def test_an_interrupted_training_goes_on_to_the_same_images(
    learner: str, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsopt.learners.variational import VariationalLearner

    settings = [f"generate.learner={learner}", "cluster.checkpoint_seconds=0"]
    if learner == "variational":
        settings += [f"generate.{kind}.options={{width: 2, condition: concat}}" for kind in ("generator", "encoder")]
        settings += ["generate.generator.name=infogan_generator"]
    else:
        settings += ["generate.discriminator_steps=3"]  # which does not go into the 20 steps between two checkpoints
    kind = VariationalLearner if learner == "variational" else AdversarialLearner
    update, steps = kind.update, iter(range(1000))

    def stops(self, batch):
        if next(steps) == 45:
            raise KeyboardInterrupt
        return update(self, batch)

    expected = made(storage, *settings)
    monkeypatch.setattr(kind, "update", stops)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, *settings)
    assert list(tmp_path.glob("generator/*/checkpoint.pt"))
    monkeypatch.setattr(kind, "update", update)
    found = made(tmp_path, *settings)
    assert Table(found.uri).read().equals(Table(expected.uri).read())
    for snapshot in Table(expected.inputs["generator"].uri).manifest["snapshots"]:
        assert snapshot in Table(found.inputs["generator"].uri).manifest["snapshots"]
    numbers = [Table(stage.inputs["generator"].uri).read().drop_columns(["seconds"]) for stage in (found, expected)]
    assert numbers[0].equals(numbers[1])


@pytest.mark.slow
def test_the_order_of_parts_is_no_matter(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dsopt.cluster import data

    monkeypatch.setattr(samples, "PART", 37)
    one = made(storage, count=100)
    stream = data.stream

    def backwards(items, *arguments) -> Iterator:
        return stream(items[::-1], *arguments)

    monkeypatch.setattr(data, "stream", backwards)
    other = made(tmp_path, count=100)
    assert Table(one.uri).read().equals(Table(other.uri).read())
    assert [part.rows for part in Table(one.uri).parts()] == [37, 37, 26]


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_make_what_one_makes(ray_local, storage: str, tmp_path: Path) -> None:
    count = samples.PART + 30
    here = made(storage, count=count)
    settings = config(storage, "cluster.workers=2", "cluster.cpus_per_worker=1")
    stage = Stage(str(tmp_path), samples.SAMPLES, "there", {}, dict(here.inputs))
    samples._sample(Worker(), stage, settings, count, 0)
    assert len(Table(stage.uri).parts()) == 2 and Table(stage.uri).read().equals(Table(here.uri).read())


@pytest.mark.slow
def test_other_seeds_are_other_images(storage: str) -> None:
    first, second = (dsopt.load_subset(made(storage, count=30, seed=seed).uri) for seed in (0, 1))
    assert not torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)


def test_training_cannot_tell_them_from_real_images(storage: str) -> None:
    train = ["train.steps=5", "train.batch_size=20", "train.options.width=8", "train.split=1"]
    plan = Plan(config(storage, *train, f"train.subset={made(storage).uri}"))
    (stage,) = job.targets(plan)
    plan.run(stage)
    assert "accuracy" in Table(stage.uri).read()["name"].to_pylist()


@pytest.mark.slow
def test_it_learns_from_a_subset(storage: str) -> None:
    stage = made(storage, "generate.images=subset", "select.name=random_balanced", "select.budget=40")
    assert stage.inputs["generator"].inputs["base"].kind == select.SELECT and Table(stage.uri).rows() == 40


GRADIENT = "generate.terms=[{name: gradient_difference, options: {network: teacher}}]"
TEACHER = ("teacher.steps=8", "teacher.batch_size=64", "teacher.options.width=4")


@pytest.mark.slow
def test_a_generator_learns_by_a_trained_classifier_which_is_an_input_of_its(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []
    logits = proxy.Judge.logits

    def watched(self: proxy.Judge, images: torch.Tensor) -> torch.Tensor:
        seen.append((float(images.detach().min()), float(images.detach().max())))
        return logits(self, images)

    monkeypatch.setattr(proxy.Judge, "logits", watched)
    plan = Plan(config(storage, GRADIENT, *TEACHER, "generate.steps=4"))
    stage = generator.model(plan, generator.base(plan), 0)
    assert [step.stage.kind.name for step in plan.to(stage)] == ["ingest", "teacher", "generator"]
    assert list(stage.inputs) == ["base", "teacher"]
    plan.run(stage)
    assert len(seen) == 2 * 4 and all(0 <= least <= most <= 1 for least, most in seen)  # the real and the made ones of four steps
    assert generator.learned_from(stage).training() == "train"
    other = Plan(config(storage, GRADIENT, *TEACHER, "generate.steps=4", "teacher.steps=9"))
    assert generator.model(other, generator.base(other), 0).hash != stage.hash


def test_of_a_subset_it_takes_the_trained_classifier_too(storage: str) -> None:
    few = ("generate.images=subset", "select.name=random_balanced", "select.budget=40", "generate.steps=2", "generate.batch_size=8")
    stage = made(storage, GRADIENT, *TEACHER, *few)
    inputs = stage.inputs["generator"].inputs
    assert set(inputs) == {"base", "teacher"} and inputs["base"].kind == select.SELECT and Table(stage.uri).rows() == 40


@pytest.mark.slow
def test_without_classes(storage: str) -> None:
    alone = [f"generate.{kind}.options.condition=none" for kind in ("generator", "discriminator")]
    table = Table(made(storage, *alone, count=30).uri)
    assert not table.manifest["labelled"] and table.read()["label"].null_count == 30


@pytest.mark.slow
def test_a_run_that_diverges_says_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"diverged at step \d+ .*lower the learning rate\."):
        made(tmp_path, "generate.learning_rate=1e30", "generate.loss.name=wasserstein")


@pytest.mark.parametrize(
    "override, says",
    [
        (
            "generate.generator.name=dcgan_generato",
            "generate.generator: generator 'dcgan_generato' is not known. Did you mean 'dcgan_generator'",
        ),
        (
            "generate.generator.name=dcgan_discriminator",
            "generate.generator: generator 'dcgan_discriminator' is not known. Did you",
        ),
        ("generate.encoder.name=lenet", "generate.encoder: encoder 'lenet' is not known"),
        ("generate.generator.options.condtion=none", "Did you mean 'condition'"),
        ("generate.loss.name=hing", "Did you mean 'hinge'"),
        ("generate.terms=[{name: gradient_penal, weight: 1}]", "Did you mean 'gradient_penalty'"),
        ("generate.terms=[{name: r1, wieght: 1}]", "Did you mean 'weight'"),
        ("generate.differentiable=[colr]", "Did you mean 'color'"),
        ("generate.discriminator.options.condition=none", "expected the same condition for both"),
        ("generate.batch_size=1", "at least 2"),
        ("generate.average=1", r"in \[0, 1\)"),
        ("generate.samples=0", "at least 1"),
    ],
)
def test_bad_input(storage: str, override: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        made(storage, override)
    assert "\n" not in str(error.value)


def test_a_size_that_a_network_cannot_make(storage: str) -> None:
    networks = [
        "generate.generator={name: dcgan_generator, options: {}}",
        "generate.discriminator={name: dcgan_discriminator, options: {}}",
    ]
    with pytest.raises(
        InputError, match=r"data\.image_size=30: dcgan_generator does not support this size; expected multiples of 4"
    ):
        made(storage, *networks, "data.image_size=30")


def test_a_class_without_images(storage: str) -> None:
    with pytest.raises(InputError, match=r"class \d has no image to learn from among 5"):
        made(storage, "generate.images=subset", "select.name=random", "select.budget=5")
