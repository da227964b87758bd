"""Trained networks from their stages' folders alone: for every stage that trains, without a configuration."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from running import here, read
from safetensors.torch import load as load_safetensors
from safetensors.torch import load_file
from torch import Tensor, nn

from dsopt.augment.inputs import make_inputs, view_of
from dsopt.config import variant
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.files import list_files, read_bytes
from dsopt.jobs.search import best
from dsopt.jobs.search.children import children
from dsopt.jobs.search.trials import FULL, Trials
from dsopt.learners.placement import unwrapped
from dsopt.pipeline import networks
from dsopt.pipeline.interchange import as_onnx
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import fit_run
from dsopt.registry import MODELS
from dsopt.search.exported import load_child
from dsopt.stages import autoencoder, classifier, colorizer, generator, ingest, proxy
from dsopt.stages.classifier import Row
from dsopt.storage import Stage, Table
from dsopt.training.loop import State

CPU = torch.device("cpu")
SETTINGS = (
    *("data.name=folder", "data.image_size=32", "cluster.workers=0", "cluster.cpus_per_worker=1"),
    *("autoencoder.steps=3", "autoencoder.batch_size=8", "autoencoder.options.width=4"),
    *(f"{role}.{setting}" for role in ("proxy", "teacher") for setting in ("steps=6", "batch_size=8", "options.width=4")),
    *("train.steps=3", "train.batch_size=8", "train.options.width=4", "train.augment=[crop,flip]", "train.average=0.5"),
    *("generate.generator={name: mlp_generator, options: {width: 16, condition: concat}}", "generate.batch_size=8"),
    *("generate.discriminator={name: mlp_discriminator, options: {width: 20, condition: concat}}", "generate.latent=5"),
    *("generate.steps=3", "colorize.steps=3", "colorize.batch_size=4"),
    *("colorize.generator.options.width=2", "colorize.discriminator.options.width=2"),
    *("search.children=1", "search.finalists=1", "search.seeds=1", "search.train.steps=3", "search.train.batch_size=8"),
    "search.space.options.width=[4,8]",
)


class Trains(NamedTuple):
    """A stage that trains a network: its planner, the module that calls `fit_run`, and what the network is given."""

    plan: Callable[[Plan], Stage]
    module: ModuleType
    given: Callable[[], tuple[Any, ...]]


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def pictures() -> tuple[Tensor]:
    return (drawn(4, 3, 24, 24),)


def child(plan: Plan) -> Stage:
    found = children(plan, Trials("search", FULL, plan.config.search.strategy, 1))
    return best.best(plan, children(plan, Trials("finalists", FULL, plan.config.search.strategy, 1, 1, 1), search=found))


TRAINS = {
    "autoencoder": Trains(autoencoder.model, autoencoder, pictures),
    "proxy": Trains(lambda plan: proxy.model(plan, "proxy"), proxy, pictures),
    "teacher": Trains(lambda plan: proxy.model(plan, "teacher"), proxy, pictures),
    "train": Trains(lambda plan: classifier.run(plan, Row("", "full", 0.0, ingest.images(plan)), 0), classifier, pictures),
    "generator": Trains(
        lambda plan: generator.model(plan, ingest.images(plan), 0), generator, lambda: (drawn(4, 5), torch.arange(4) % 2)
    ),
    "colorizer": Trains(lambda plan: colorizer.model(plan, 0), colorizer, lambda: (None, drawn(4, 1, 32, 32))),
    "child": Trains(child, best, lambda: (drawn(4, 3, 32, 32),)),
}


class Kept(NamedTuple):
    """A finished stage's folder, and the network as it was when its training had ended."""

    uri: str
    network: nn.Module


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Forty color pictures of two classes."""
    root, numbers = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(40):
        place = root / ("train" if i < 32 else "test") / f"class{i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers.integers(0, 255, (32, 32, 3), np.uint8)).save(place / f"{i}.png")
    return [*SETTINGS, f"data.root={root}", f"storage={tmp_path_factory.mktemp('storage')}"]


@pytest.fixture(scope="module")
def kept(settings: list[str]) -> dict[str, Kept]:
    plan, found = Plan(read(*settings)), {}
    for name, trains in TRAINS.items():
        stage, learners = trains.plan(plan), list[Any]()

        def noted(run: Any, learner: Any, *more: Any, learners: list[Any] = learners) -> State:
            learners.append(learner)
            return fit_run(run, learner, *more)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trains.module, "fit_run", noted)
            plan.run(stage)
        (learner,) = learners
        network = learner.networks["autoencoder"] if name == "autoencoder" else learner.average.averaged_network()
        found[name] = Kept(stage.uri, unwrapped(network).eval())
    return found


@pytest.mark.parametrize("name", TRAINS)
def test_a_network_gives_what_it_gave_after_its_training(name: str, kept: dict[str, Kept], tmp_path: Path) -> None:
    """From a copy of the folder, where nothing else is."""
    shutil.copytree(kept[name].uri, tmp_path / "copy")
    network = networks.trained(Table(str(tmp_path / "copy")), CPU)
    assert not network.training and type(network) is type(kept[name].network)
    given = TRAINS[name].given()
    with torch.no_grad():
        torch.testing.assert_close(network(*given), kept[name].network(*given), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TRAINS)
def test_the_weights_are_a_file_of_safetensors(name: str, kept: dict[str, Kept]) -> None:
    table = Table(kept[name].uri)
    file = table.manifest["model"]["weights"]
    found = load_file(f"{table.uri}/{file}")
    expected = kept[name].network.state_dict()
    assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)
    assert [name for name in list_files(table.uri) if name.endswith(".safetensors")] == [file]
    same = networks.load_weights(table, file)
    assert all(torch.equal(found[key], same[key]) for key in found)


@pytest.mark.parametrize("name", ["train", "child"])
def test_a_network_and_its_inputs_reach_the_accuracy_that_was_measured(name: str, kept: dict[str, Kept]) -> None:
    table = Table(kept[name].uri)
    (images,) = Path(kept[name].uri).parents[1].glob("ingest/*")
    tested = load(str(images), "test")
    with torch.no_grad():
        found = networks.trained(table, CPU)(networks.inputs_of(table).test(tested.images)).argmax(1)
    (measured,) = (row["value"] for row in table.read().to_pylist() if (row["split"], row["name"]) == ("test", "accuracy"))
    assert float((found == tested.labels).double().mean()) == pytest.approx(measured)


def test_an_exported_child_is_the_network_of_its_stage(kept: dict[str, Kept]) -> None:
    table = Table(kept["child"].uri)
    exported, about = load_child(f"{table.uri}/{table.manifest['exported']}")
    given = TRAINS["child"].given()
    with torch.no_grad():  # one is channels-last, so that sums are in another order
        torch.testing.assert_close(exported(*given), networks.trained(table, CPU)(*given), rtol=1e-5, atol=1e-6)
    assert about.child == networks.description_of(table)["child"] == table.manifest["child"]


def about(uri: str) -> dict[str, Any]:
    return json.loads(read_bytes(f"{uri}/model.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "proxy", "child"])
def test_an_onnx_file_takes_bytes_and_gives_the_logits(name: str, kept: dict[str, Kept], tmp_path: Path) -> None:
    here(f"input={kept[name].uri}", f"output={tmp_path}/out", "format=onnx", job="export")
    told, table = about(f"{tmp_path}/out"), Table(kept[name].uri)
    assert told["classes"] == ["class0", "class1"] and told["input"]["channels"] == "RGB"
    session = onnxruntime.InferenceSession(tmp_path / "out" / told["file"])
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, found.name) == (told["input"]["name"], told["output"]["name"]) == ("images", "logits")
    assert given.shape == told["input"]["shape"] and found.shape == told["output"]["shape"]
    images = (255 * drawn(5, *told["input"]["shape"][1:])).byte()
    with torch.no_grad():
        expected = networks.trained(table, CPU)(networks.inputs_of(table).test(images))
    (logits,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-5)


def test_safetensors_are_told_how_to_be_fed(kept: dict[str, Kept], storage: str) -> None:
    here(f"input={kept['train'].uri}", f"output={storage}/out", "format=safetensors", job="export")
    told, table = about(f"{storage}/out"), Table(kept["train"].uri)
    network, prepare = told["network"], told["preparation"]
    mine = MODELS.build(network["name"], network["options"])(*network["arguments"]).eval()
    mine.load_state_dict(load_safetensors(read_bytes(f"{storage}/out/{told['file']}")))
    images = (255 * drawn(4, 3, prepare["resize"], prepare["resize"])).byte()
    edge = (prepare["resize"] - prepare["crop"]) // 2
    x = images[:, :, edge:-edge, edge:-edge] * prepare["scale"]
    variance, mean = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
    x = (x - mean) / variance.clamp_min(1 / x[0].numel()).sqrt()
    assert list(x.shape[1:]) == told["input"]["shape"][1:] and prepare["standardise"]["formula"].startswith("(x - mean) / sqrt(")
    with torch.no_grad():
        expected = networks.trained(table, CPU)(networks.inputs_of(table).test(images))
        torch.testing.assert_close(mine(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("train", "folder", "is not for a stage of train; expected onnx, safetensors"),
        ("autoencoder", "onnx", "holds a trained autoencoder; only classifiers are exported"),
        ("generator", "safetensors", "holds a trained generator; only classifiers are exported"),
        ("colorizer", "safetensors", "only classifiers are exported"),
    ],
)
def test_what_cannot_be_exported_is_refused(name: str, format: str, message: str, kept: dict[str, Kept], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        here(f"input={kept[name].uri}", f"output={tmp_path}/out", f"format={format}", job="export")
    assert not (tmp_path / "out").exists()


def test_without_the_package_of_onnx(kept: dict[str, Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the packages onnx and onnxscript; .* 'dsopt\[onnx\]'"):
        here(f"input={kept['train'].uri}", f"output={tmp_path}/out", "format=onnx", job="export")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS.names() if MODELS.traits(name).kind == "classifier"])
def test_every_classifier_has_an_onnx_file(name: str) -> None:
    view = view_of(name, 64)
    inputs, network = make_inputs([], view.taken, "deviation", None, view.loaded), MODELS.build(name)(3, 10).eval()
    images = (255 * drawn(3, 3, view.loaded, view.loaded)).byte()
    (logits,) = onnxruntime.InferenceSession(as_onnx(network, inputs, [*images.shape[1:]])).run(None, {"images": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), network(inputs.test(images)), rtol=1e-4, atol=1e-5)


def test_what_uses_a_network_needs_its_folder_alone(kept: dict[str, Kept]) -> None:
    judge = proxy.Judge(Stage.existing(kept["proxy"].uri), CPU)
    assert judge.features((255 * drawn(4, 3, 32, 32)).byte()).shape[0] == 4
    made = generator.Trained(Stage.existing(kept["generator"].uri), CPU)
    assert made.make(made.noise(4, torch.Generator().manual_seed(0)), torch.arange(4) % 2).shape == (4, 3, 32, 32)
    colors = colorizer.Colorizer(Stage.existing(kept["colorizer"].uri), CPU)
    assert colors.size == 32 and colors(drawn(1, 1, 32, 64)).shape == (1, 2, 32, 64)
    with pytest.raises(InputError, match="is no colorizer but of stage generator"):
        colorizer.Colorizer(Stage.existing(kept["generator"].uri), CPU)


def test_a_stage_that_trains_nothing_has_no_network(kept: dict[str, Kept]) -> None:
    (images,) = Path(kept["train"].uri).parents[1].glob("ingest/*")
    with pytest.raises(InputError, match=r"holds no trained network \(stage ingest\)"):
        networks.trained(Table(str(images)), CPU)


def test_a_network_sees_whole_pictures_of_any_size() -> None:
    sizes = {name: size for name in MODELS.names() if (size := getattr(MODELS.traits(name), "input_size", None))}
    assert len(sizes) > 5
    for name, size in sizes.items():
        for as_it_is in (size, int(1.5 * size)):
            assert view_of(name, as_it_is) == (as_it_is, size)
        picture = 32 if name == "classifier24" or MODELS.traits(name).kind == "autoencoder" else size  # the paper crops 24 of 32
        assert view_of(name, int(1.5 * size) + 1) == view_of(name, 500) == (picture, size)
        with pytest.raises(InputError, match=rf"data.image_size={size - 1}: {name} takes {size} pixels; expected {size} or more"):
            view_of(name, size - 1)


@pytest.mark.parametrize("name", ["autoencoder", "proxy", "teacher", "train"])
def test_smaller_pictures_are_refused_before_anything_is_done(name: str, settings: list[str], tmp_path: Path) -> None:
    config = variant(read(*settings, f"storage={tmp_path}"), ["data.image_size=23"])
    with pytest.raises(InputError, match=r"data\.image_size=23: .* takes 24 pixels; expected 24 or more"):
        TRAINS[name].plan(Plan(config))
    assert not list(tmp_path.iterdir())
    TRAINS[name].plan(Plan(variant(config, ["data.image_size=500"])))
