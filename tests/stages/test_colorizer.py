"""Training colorizers and measuring them: on colored squares, whose colors follow from their lightness."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import here

from dsopt.config import Config, load
from dsopt.data.loading import load as load_images
from dsopt.errors import InputError
from dsopt.files import read_bytes
from dsopt.jobs.colorize import job as colorize
from dsopt.jobs.colorize import page as colorize_page
from dsopt.pipeline import adversaries
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.training import StageCheckpoint
from dsopt.stages import colorizer, measure_colors
from dsopt.storage import Stage, Table

TINY = [
    "cluster.workers=0",
    "colorize.steps=4",
    "colorize.batch_size=4",
    "colorize.generator.options.width=2",
    "colorize.discriminator.options.width=2",
    "proxy.steps=12",
    "proxy.batch_size=8",
    "proxy.options.width=8",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Light red and dark blue squares, of two classes."""
    made, random = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    for i in range(48):
        color = np.array([(250, 150, 130), (20, 20, 120)][i % 2]) + random.integers(-20, 21, 3)
        pixels = np.clip(color + random.integers(-5, 6, (32, 32, 3)), 0, 255).astype(np.uint8)
        name = made / ("test" if i < 16 else "train") / ("red", "blue")[i % 2] / f"{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(name)
    return made


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


@pytest.fixture
def given(folder: Path, storage: str) -> list[str]:
    return ["data.name=folder", f"data.root={folder}", f"storage={storage}", *TINY]


def trained(config: Config, seed: int = 0) -> Stage:
    plan = Plan(config)
    stage = colorizer.model(plan, seed)
    plan.run(stage)
    return stage


def measured(config: Config) -> Stage:
    plan = Plan(config)
    stage = colorize.measured(plan, 0)
    plan.run(stage)
    return stage


def values(stage: Stage) -> dict[str, float]:
    rows = Table(stage.uri).read().to_pylist()
    return {row["name"]: row["value"] for row in rows if row["split"] == "test"}


def weights(stage: Stage) -> bytes:
    return read_bytes(stage.path(Table(stage.uri).manifest["model"]["weights"]))


@pytest.mark.slow
def test_it_learns_colors_and_is_measured_beside_grey_and_the_truth(given: list[str]) -> None:
    learning = ["colorize.steps=60", "colorize.batch_size=8", "colorize.learning_rate=0.01", "colorize.average=0.5"]
    config = load([*given, *learning, "colorize.loss.name=none", "colorize.generator.options.width=4"])
    found = values(measured(config))
    names = {"ab_error", "psnr", "ssim", "colorfulness", "fcd", "accuracy"}
    assert names <= set(found) and {f"{name}_grey" for name in names} <= set(found) and "fcd_true" not in found
    assert found["ab_error"] < found["ab_error_grey"] / 2 and found["psnr"] > found["psnr_grey"]
    assert found["fcd"] < found["fcd_grey"] / 2 and found["colorfulness_grey"] < 1 < found["colorfulness"]
    assert abs(found["colorfulness"] - found["colorfulness_true"]) < found["colorfulness_true"] / 2


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["colorize.loss.name=least_squares", "colorize.terms=[]"],
        ["colorize.loss.name=energy", "colorize.discriminator.name=energy_discriminator", "colorize.loss.options.margin=0.1"],
        [
            *("colorize.loss.name=wasserstein", "colorize.discriminator.options.norm=none", "colorize.discriminator_steps=2"),
            "colorize.terms=[{name: gradient_penalty, weight: 10}, {name: l2, weight: 100}]",
        ],
    ],
    ids=["pix2pix", "lsgan", "ebgan", "wgan_gp"],
)
def test_every_family_of_the_study_trains(given: list[str], more: list[str]) -> None:
    config = load([*given, *more])
    stage = trained(config)
    rows = Table(stage.uri).read().to_pylist()
    assert {"loss", "generator_loss"} <= {row["name"] for row in rows} and all(np.isfinite(row["value"]) for row in rows)
    made = colorizer.Colorizer(stage, torch.device("cpu"))
    lightness = 2 * torch.rand(2, 1, 32, 64) - 1
    assert made(lightness).shape == (2, 2, 32, 64)
    assert weights(trained(replace(config, storage=config.storage + "-again"))) == weights(stage)  # the same from the same seed


@pytest.mark.long
@pytest.mark.slow
def test_a_sweep_shows_the_same_images_in_the_colors_of_every_row(given: list[str], tmp_path: Path) -> None:
    rows = "sweep.rows={L1: [colorize.loss.name=none], GAN: []}"
    here(*given, f"storage={tmp_path}", "sweep.of=colorize", rows, "sweep.seeds=2", job="sweep")
    (html,) = tmp_path.glob("sweep/*/report.html")
    text = html.read_text()
    assert text.count("image/png") == 3 and "Losses" in text and "Test images" in text  # bars, losses, colors


@pytest.mark.slow
def test_an_interrupted_run_ends_as_an_undisturbed_one(given: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    often = ["cluster.checkpoint_seconds=0", "colorize.steps=25"]  # the first checkpoint is after 20
    whole = trained(load([*given, *often]))
    save, saved = StageCheckpoint.save, []

    def save_and_die(self: StageCheckpoint, data: bytes) -> None:
        save(self, data)
        saved.append(data)
        raise KeyboardInterrupt

    config = load([*given, *often, f"storage={tmp_path}"])
    monkeypatch.setattr(StageCheckpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        trained(config)
    monkeypatch.setattr(StageCheckpoint, "save", save)
    assert saved and weights(trained(config)) == weights(whole)


def test_crops_are_learned_and_measured(given: list[str], storage: str) -> None:
    config = load([*given, "data.image_size=36", "colorize.size=32", "colorize.augment=[crop,flip]", "proxy.steps=4"])
    stage = measured(config)
    assert Table(stage.inputs["images"].uri).manifest["image_size"] == 36 and values(stage)["ab_error"] > 0


@pytest.mark.slow
def test_the_page_shows_several_and_no_colors_at_all(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    beside = trained(load([*given, "colorize.loss.name=none"]))
    config = load([*given, f"colorize.beside=[{beside.uri}]"])
    colorize.colorize(Plan(config))
    printed = capsys.readouterr().out
    rows = [line.split("  ")[0] for line in printed.splitlines() if line]
    for name in ("no colors", "non_saturating + 100 l1", "100 l1", "true colors"):
        assert name in rows
    report = Path(printed.splitlines()[-1].split()[-1]).read_text()
    assert report.count("<img ") == 3 and "non_saturating + 100 l1" in report and "colorfulness" in report
    again = len(capsys.readouterr().out)
    colorize.colorize(Plan(config))
    assert again == 0 and "done in" not in capsys.readouterr().out
    head, lines = colorize_page.lines([measured(config)])
    assert head[1] == "FCD" and all(len(line) == len(head) for line in lines)


@pytest.mark.slow
def test_without_labels_there_is_no_classifier_to_ask(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    for file in files:
        (tmp_path / "flat").mkdir(exist_ok=True)
        (tmp_path / "flat" / file.name).write_bytes(file.read_bytes())
    config = load(["data.name=folder", f"data.root={tmp_path / 'flat'}", f"storage={tmp_path / 'runs'}", *TINY])
    colorize.colorize(Plan(config))
    found = values(measured(config))
    assert "ab_error" in found and "colorfulness_true" in found and not {"fcd", "accuracy"} & set(found)


def test_colors_of_the_truth_are_the_truth(given: list[str]) -> None:
    config = load(given)
    images = load_images(trained(config).inputs["images"].uri, "test").images
    from dsopt.data.colors import split

    true = [split(images[i : i + 1].float() / 255)[1] for i in range(3)]
    back = torch.cat([measure_colors.recolored(images[i : i + 1], lambda lightness, i=i: true[i]) for i in range(3)])
    assert int((back.int() - images[:3].int()).abs().max()) <= 1
    plain = measure_colors.recolored(images[:3], measure_colors.grey).int()
    assert int((plain.amax(1) - plain.amin(1)).max()) <= 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["data.image_size=48"], "32, 64, 128 or 256"),
        (["colorize.size=64"], "colorize.size=64"),
        (["data.channels=1"], "a colorizer learns from colors; expected 3"),
        (["colorize.differentiable=[translation]"], "colorize.differentiable"),
        (["colorize.generator.name=dcgan_generator"], "colorizer 'dcgan_generator' is not known.*unet"),
        (["colorize.loss.name=energy"], "needs an autoencoder"),
        (["colorize.loss.name=none", "colorize.terms=[]"], "needs a term"),
        (["colorize.terms=[{name: gradient_penalty, weight: 10}]"], "batch normalization"),
        (["colorize.discriminator={name: dcgan_discriminator, options: {condition: concat}}"], "is conditioned on the class"),
        (
            ["generate.discriminator.name=patch_discriminator"],
            "is unconditional, patch_discriminator is conditioned on the lightness",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_anything_starts(given: list[str], more: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        config = load([*given, *more])
        if more[0].startswith("generate"):
            made = (3, 32, 2, 8)
            with torch.device("meta"):
                adversaries.build("generate", config.generate, made, made[:3])
        colorizer.model(Plan(config), 0)


@pytest.mark.slow
def test_grey_images_are_told(folder: Path, tmp_path: Path) -> None:
    config = load(["data.name=digits", "data.image_size=32", f"storage={tmp_path}", *TINY])
    with pytest.raises(InputError, match="images are grey"):
        trained(config)


def test_another_stage_is_no_colorizer(given: list[str]) -> None:
    images = trained(load(given)).inputs["images"]
    with pytest.raises(InputError, match="is no colorizer"):
        colorizer.Colorizer(Stage.existing(images.uri), torch.device("cpu"))
