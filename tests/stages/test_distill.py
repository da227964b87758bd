"""The stages of distillation: an artefact that is read by others, evaluated again, gone on with, and refused in one line."""

import math
import re
from pathlib import Path

import pytest
import torch

import dsopt
from dsopt.config import load
from dsopt.data import loading as reading
from dsopt.distillation.normalisation import to_bytes
from dsopt.errors import InputError, JobError
from dsopt.evaluation.dd_ranking import normalised
from dsopt.files import join
from dsopt.jobs.distill import job as evaluate
from dsopt.learners.placement import average_gradients
from dsopt.pipeline.plan import Plan
from dsopt.stages import distill
from dsopt.stages import evaluate as evaluate_trial
from dsopt.stages.distill import normalisation_of
from dsopt.storage import Stage, Table

BASE = [
    "data.name=digits",
    "data.limit=200",
    "cluster.workers=0",
    "distill.batch_size=50",
    "evaluate.repeats=2",
    "evaluate.steps=3",
]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


def made(storage: str, *overrides: str) -> Table:
    plan = Plan(load([f"storage={storage}", *BASE, "distill.steps=3", *overrides]))
    stage = distill.artefact(plan)
    plan.run(stage)
    return Table(stage.uri)


def evaluated(plan: Plan) -> list[Stage]:
    """The finished evaluations, each once."""
    stages = evaluate.targets_of_evaluate(plan)
    plan.run(*stages)
    return list({stage.hash: stage for stage in stages}.values())


@pytest.mark.slow
def test_the_artefact_says_all_that_training_on_it_needs(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = made(storage, "distill.options={fixed_layers: 5, soft_labels: true, epochs: 2}")
    manifest = table.manifest
    assert manifest["rows"] == 10 and manifest["network"]["name"] == "lenet" and manifest["shape"] == [1, 32, 32]
    assert len(manifest["recipe"]["rates"]) == 2 and manifest["evaluate"].endswith(f"input={table.uri}")
    subset = dsopt.load_subset(table.uri)
    assert len(subset) == 10 and subset.images.shape == (10, 1, 32, 32) and subset[3][1].shape == (10,)
    normalisation = normalisation_of(table)
    assert normalisation is not None
    exact, labels, soft = evaluate_trial.read_set(table.uri, normalisation, False)
    assert labels.tolist() == list(range(10)) and soft is not None and exact.dtype == torch.float32
    # The pictures are the pixels, but for rounding and what lies outside of 0..1.
    assert torch.equal(to_bytes(normalisation, exact), subset.images)

    config = load([f"storage={storage}", *BASE, f"input={table.uri}"])
    evaluate.evaluate(Plan(config))
    (page,) = Path(storage).glob("report/distilled-*/report.html")
    assert page.read_text().count("<figure>") == 1 and "digits-dd" in page.read_text()
    first = capsys.readouterr().out.split("images of")[1]
    assert [line.split()[3] for line in first.splitlines() if line.startswith("digits-dd")] == ["own", "common", "common"]
    evaluate.evaluate(Plan(config))
    assert capsys.readouterr().out.split("images of")[1] == first
    # With all layers fixed, every training by its own recipe starts, and ends, alike.
    own = next(line for line in first.splitlines() if " own " in line)
    assert "± 0.00" in own


def test_evaluations_by_deterministic_operations_alone(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table, modes = made(storage, "distill.name=random"), []
    monkeypatch.setattr(evaluate_trial, "train", lambda *_: modes.append(torch.are_deterministic_algorithms_enabled()))
    evaluated(Plan(load([f"storage={storage}", *BASE, f"input={table.uri}", "evaluate.steps=2", "deterministic=true"])))
    assert modes and all(modes) and not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_a_whitened_set_brings_its_whitening(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = made(storage, "distill.name=dm", "distill.normalise.name=zca")
    assert table.manifest["normalisation"]["name"] == "zca" and table.manifest["normalisation"]["side"] == 32
    normalisation = normalisation_of(table)
    assert normalisation is not None
    exact, _, _ = evaluate_trial.read_set(table.uri, normalisation, False)
    assert torch.equal(to_bytes(normalisation, exact), dsopt.load_subset(table.uri).images)
    config = load([f"storage={storage}", *BASE, f"input={table.uri}", "evaluate.steps=50"])
    evaluate.evaluate(Plan(config))
    shown = [line.split("±")[0].split() for line in capsys.readouterr().out.split("images of")[1].splitlines()]
    # Test images are whitened alike: ten images teach more than chance, which is 10 %.
    found = {words[4]: float(words[-1]) for words in shown if words and words[0] == "digits-dm"}
    assert set(found) == {"exact", "8"} and min(found.values()) > 25, found


@pytest.mark.slow
def test_settings_are_found_without_the_test_images(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    held = ["distill.name=kmeans", "distill.per_class=2", "distill.validation=0.3"]
    table, plainly = made(storage, *held), made(storage, *held[:2])
    images = Table(str(Path(storage) / table.manifest["inputs"]["images"]))
    mine, others = distill.real_images(images, 0.3), distill.real_images(images, 0.3, held=True)
    everything = reading.load(images.uri, "train").ids
    assert sorted([*mine.ids.tolist(), *others.ids.tolist()]) == sorted(everything.tolist())
    assert 0.2 < len(others.ids) / len(everything) < 0.4
    kept = {image.numpy().tobytes() for image in mine.images}
    assert {image.numpy().tobytes() for image in dsopt.load_subset(table.uri).images} <= kept
    config = load([f"storage={storage}", *BASE, f"input={table.uri}", "evaluate.ranking=true", "evaluate.real_epochs=1"])
    evaluate.evaluate(Plan(config))
    assert "held-out accuracy %" in capsys.readouterr().out
    for stage in evaluate.targets_of_evaluate(Plan(config)):
        assert set(Table(stage.uri).read()["split"].to_pylist()) == {"validation"}
    with pytest.raises(InputError, match=r"digits-kmeans-\S+ was made with distill\.validation=0\.0, \S+ with 0\.3"):
        evaluated(Plan(load([f"storage={storage}", *BASE, f"input={table.uri}", f"evaluate.beside=[{plainly.uri}]"])))


def test_of_a_whole_data_set_only_the_training_images_are_trained_on(storage: str) -> None:
    table = made(storage)
    images = Table(str(Path(storage) / table.manifest["inputs"]["images"]))
    normalisation = normalisation_of(table)
    assert normalisation is not None
    assert len(evaluate_trial.read_set(images.uri, normalisation, True)[0]) == images.rows("train") < images.rows()


def test_images_of_other_channels_are_told(storage: str) -> None:
    grey, colors = made(storage), made(storage, "distill.name=random", "data.channels=3")
    config = load([f"storage={storage}", *BASE, f"input={grey.uri}", f"evaluate.beside=[{colors.uri}]"])
    with pytest.raises(InputError, match=r"digits-random-\S+: has images of 3 channel\(s\), \S+, that it is tested on, of 1\."):
        evaluated(Plan(config))


def test_real_images_stand_beside_it(storage: str) -> None:
    table, real = made(storage), made(storage, "distill.name=random", "distill.per_class=2")
    config = load([f"storage={storage}", *BASE, f"input={table.uri}", f"evaluate.beside=[{real.uri}]", "evaluate.networks=[lenet]"])
    found = evaluated(Plan(config))
    names = [(stage.inputs["table"].kind.name, stage.made_of["recipe"]) for stage in found]
    assert names == [("distill", "own")] + [("distill", "common")] * 4
    assert all(stage.done() for stage in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides, recipe, trainings",
    [
        # In the table: exact, 8 bits. For the scores: all, random.
        (["distill.name=dm"], "common", 4),
        # In the table: own, exact, 8 bits. For the scores: all, random, and both without augmentation.
        (["distill.name=bptt", "distill.options={length: 3, window: 1}", "distill.augment=[shift]"], "own", 7),
        # The same in the table. For the scores: all, both with hard labels; by the common recipe random, and both unaugmented.
        (["distill.options={fixed_layers: 5, soft_labels: true}"], "own, hard labels", 9),
    ],
)
def test_a_set_is_ranked_against_random_images_by_the_same_recipe(
    overrides: list[str], recipe: str, trainings: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, augment = made(str(tmp_path), *overrides), ["evaluate.augment=[shift]"] * ("hard" in recipe)
    config = load([f"storage={tmp_path}", *BASE, f"input={table.uri}", "evaluate.ranking=true", "evaluate.real_epochs=2", *augment])
    plan = Plan(config)
    assert len(plan.to(*evaluate.targets_of_evaluate(plan))) == trainings
    evaluate.evaluate(plan)
    told = capsys.readouterr().out.split("ranking of")[1]
    (line,) = [line for line in told.splitlines() if line.startswith("digits-")]
    cells = re.split(r"  +", line)
    assert cells[2] == recipe and len(cells) == (9 if "shift" in f"{overrides}{augment}" else 8)
    every, random, recovery, improvement, score = (float(cell.split()[0]) / 100 for cell in cells[3:8])
    assert score == pytest.approx(normalised((improvement - recovery) / 2), abs=0.01)  # nearly so of means
    assert every > 0.2 and 0 <= random <= 1 and ("ARS needs" in told) == (len(cells) == 8)
    (page,) = tmp_path.glob("report/distilled-*/report.html")
    assert cells[6] in page.read_text()


def test_random_images_of_the_same_classes() -> None:
    labels, of = torch.tensor([2, 0, 2, 1]), torch.arange(90) % 3
    first, second = (evaluate_trial.same_classes(labels, of, seed) for seed in (1, 2))
    assert torch.equal(of[first], labels) and torch.equal(of[second], labels) and not torch.equal(first, second)
    assert len(first.unique()) == 4 and torch.equal(first, evaluate_trial.same_classes(labels, of, 1))
    with pytest.raises(InputError, match="class 2 has 1 real images; the set has 2"):
        evaluate_trial.same_classes(labels, torch.arange(3), 0)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_images(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dsopt.distillation.dd import DatasetDistillation

    settings = ["distill.steps=24", "distill.name=dd", "cluster.checkpoint_seconds=0", "distill.network.options.pooling=average"]
    update, steps = DatasetDistillation.update, iter(range(1000))

    def stops(self, batch):
        if next(steps) == 22:
            raise KeyboardInterrupt
        return update(self, batch)

    expected = made(storage, *settings).read()
    monkeypatch.setattr(DatasetDistillation, "update", stops)
    with pytest.raises(KeyboardInterrupt):
        made(str(tmp_path), *settings)
    assert list(tmp_path.glob("distill/*/checkpoint.pt"))
    monkeypatch.setattr(DatasetDistillation, "update", update)
    assert made(str(tmp_path), *settings).read().equals(expected)
    assert not list(tmp_path.glob("distill/*/checkpoint.pt"))


@pytest.mark.slow
def test_the_last_good_images_of_a_run_that_diverges_are_kept(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dsopt.distillation.dd import DatasetDistillation

    settings = ["distill.steps=60", "distill.name=dd", "cluster.checkpoint_seconds=0", "distill.network.options.pooling=average"]
    update, steps = DatasetDistillation.update, iter(range(1000))

    def diverges(self, batch):
        found = update(self, batch)
        return {name: value * math.nan for name, value in found.items()} if next(steps) > 25 else found

    monkeypatch.setattr(DatasetDistillation, "update", diverges)
    with pytest.raises(JobError, match=r"diverged at step 40 .* The images of step 20: (distill/\S+)$") as told:
        made(storage, *settings)
    monkeypatch.setattr(DatasetDistillation, "update", update)
    kept = Table(join(storage, str(told.value).rpartition(" ")[2]))
    assert kept.manifest["steps"] == 20 and len(dsopt.load_subset(kept.uri)) == kept.rows() == 10
    config = load([f"storage={storage}", *BASE, f"input={kept.uri}", "evaluate.networks=[lenet]"])
    evaluated(Plan(config))


@pytest.mark.parametrize(
    "override, says",
    [
        ("distill.network.name=classifier24", "has batch normalization, whose running statistics"),
        ("distill.network.name=vgg28", r"has dropout, .* distill\.network\.options\.dropout=0"),
        ("distill.network.name=autoencoder", "distill.network: classifier 'autoencoder' is not known"),
        ("distill.augment=[crop]", "changes the size of images"),
        ("evaluate.augment=[randaugment]", "augment=randaugment: is for pixels in 0..1, and these are normalised"),
        ("distill.augment=[flip]", r"distill\.augment=\[flip\]: dd trains on its images as they are"),
        ("distill.options.fixed_layers=9", "valid: 0 to the network's 5"),
        ("distill.options.epoch=9", "Did you mean 'epochs'"),
        ("distill.name=ddd", "Did you mean 'dd'"),
        ("distill={name: dm, compile: auto}", r"distill\.compile=auto: not for dm; expected bptt, dd, gradient_matching\."),
        ("distill.per_class=0", "must be at least 1"),
    ],
)
def test_bad_input(storage: str, override: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        made(storage, override)


def test_every_worker_needs_images_of_every_class(storage: str) -> None:
    with pytest.raises(
        InputError, match=r"distill.batch_size=7: dm wants images of all 10 classes on each of 1 worker.*at least 10\."
    ):
        made(storage, "distill.name=dm", "distill.batch_size=7")


def test_too_few_images_of_a_class(storage: str) -> None:
    with pytest.raises(InputError, match=r"distill\.per_class=100: class \d has only \d+ images"):
        made(storage, "distill.name=kmeans", "distill.per_class=100")


def test_one_worker_averages_nothing() -> None:
    gradients = [torch.ones(2), torch.zeros(3, 1)]
    assert all(torch.equal(a, b) for a, b in zip(average_gradients(gradients, 1), gradients, strict=True))


SLIM = [
    "generate.steps=2",
    "generate.generator.options.width=2",
    "generate.discriminator.options.width=2",
    "generate.batch_size=20",
]


@pytest.mark.slow
def test_images_that_a_trained_generator_makes(storage: str) -> None:
    """One generator for all; what it makes of noise is the control."""
    given = [
        "preset=cdcgan",
        *SLIM,
        "distill.network.name=convnet",
        "distill.network.options.width=4",
        "distill.name=slope_matching",
    ]
    sphere = made(storage, *given, "distill.stored={name: latent, options: {sphere: true}}", "distill.options.learning_rate=0.5")
    layer = made(storage, *given, "distill.stored={name: layer, options: {module: dense}}", "distill.options.learning_rate=0.5")
    noise = made(storage, *given, "distill.name=random", "distill.stored.name=latent")
    assert {table.manifest["inputs"]["generator"] for table in (sphere, layer, noise)} == {noise.manifest["inputs"]["generator"]}
    assert sphere.manifest["stored"] == {"name": "latent", "options": {"sphere": True}} and noise.manifest["steps"] == 0
    assert dsopt.load_subset(layer.uri).images.shape == (10, 1, 32, 32)
    exact = [torch.tensor(table.read()["pixels"].to_pylist()) for table in (sphere, layer, noise)]
    assert not torch.equal(exact[0], exact[2]) and not torch.equal(exact[1], exact[2])
    config = load([f"storage={storage}", *BASE, f"input={sphere.uri}", "evaluate.networks=[lenet]"])
    evaluated(Plan(config))


def test_several_images_in_one(storage: str) -> None:
    table = made(storage, "distill.name=dm", "distill.stored.name=formations")
    assert table.rows() == 40 and table.read()["label"].to_pylist() == 4 * list(range(10))


def test_images_smaller_than_the_data_are_read_again(storage: str) -> None:
    """A network that takes the middle of the images."""
    table = made(storage, "distill.name=dm", "distill.network.name=classifier24", "distill.network.options.width=4")
    assert reading.load(table.uri).images.shape == (10, 1, 24, 24)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["distill.stored.name=latnt"], "Did you mean 'latent'"),
        (["distill.normalise.name=zcaa"], "Did you mean 'zca'"),
        (
            ["distill.stored.name=latent"],
            "distill.stored.name=latent: needs a class-conditional generator, which dcgan_generator as set is not",
        ),
        (["distill.stored.name=formations", "distill.name=kmeans"], "kmeans takes real images as they are"),
        (["distill.stored.name=formations", "distill.name=halving"], "halving takes real images as they are"),
        (["preset=cdcgan", "distill.stored.name=latent", "distill.validation=0.1"], "must be 0 with a generator"),
        (["distill.stored.name=formations", "distill.stored.options.factr=3"], "Did you mean 'factor'"),
    ],
)
def test_wrong_ways_of_storing(storage: str, overrides: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        made(storage, *overrides)
