"""The colorizing job on photographs as people have them; its networks are those of a few steps."""

import io
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import REPOSITORY, one_line, read
from s3_server import S3Server

from dsopt.data import photos
from dsopt.data.colors import rgb_to_lab
from dsopt.data.pixels import Unusable
from dsopt.errors import InputError
from dsopt.files import read_bytes, write_bytes
from dsopt.generation.colorize import colorized
from dsopt.jobs.colorize import pictures
from dsopt.pipeline.plan import Plan
from dsopt.stages import colorizer
from dsopt.storage import Stage

JOBS = REPOSITORY / "jobs"


def picture(width: int, height: int, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    stack = np.stack([(x * 3 + y) % 200, (x + y * 2) % 220, (x * y) % 180, 255 - (x + y) % 256], 2)[..., :channels] // 2 + 60
    return stack.astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def lightness(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
    return rgb_to_lab(pixels)[0, 0]


def is_grey(image: Image.Image) -> bool:
    pixels = np.array(image.convert("RGB")).astype(int)
    return bool((np.ptp(pixels, axis=2) <= 1).all())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a colorizer that has taken a few steps on a few color images."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for i in range(16):
        name = folder / f"{'train' if i < 12 else 'test'}/{'ab'[i % 2]}/{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(name)
    config = read(
        f"storage={tmp_path_factory.mktemp('storage')}",
        *("data.name=folder", f"data.root={folder}", "cluster.workers=0", "colorize.steps=12", "colorize.batch_size=4"),
        *("colorize.generator.options.width=2", "colorize.discriminator.options.width=2", "colorize.learning_rate=0.05"),
        *("colorize.loss.name=none", "colorize.average=0"),
    )
    plan = Plan(config)
    stage = colorizer.model(plan, 0)
    plan.run(stage)
    return stage.uri


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], model: str):
    """The job's file in this process, with the module's colorizer: arguments -> (exit status, output, errors)."""

    def start(*arguments: str, model: str = model) -> tuple[int, str, str]:
        words = ["colorize.py", f"colorize.model={model}", "cluster.workers=0", *arguments]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "path", [str(JOBS), *sys.path])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(JOBS / "colorize.py"), run_name="__main__")
        return ended.value.code, *capfd.readouterr()  # type: ignore[return-value]

    return start


KINDS = {
    "odd.jpg": lambda: encoded(Image.fromarray(picture(301, 77)), "JPEG", quality=95),
    "grey.png": lambda: encoded(Image.fromarray(picture(50, 90)[..., 1])),
    "grey.jpg": lambda: encoded(Image.fromarray(picture(50, 90)[..., 1]), "JPEG"),
    "tiny.bmp": lambda: encoded(Image.fromarray(picture(3, 2)), "BMP"),
    "line.png": lambda: encoded(Image.fromarray(picture(1500, 1))),
    "deep.png": lambda: encoded(Image.fromarray(picture(40, 50)[..., 0].astype(np.uint16) * 257)),
    "palette.png": lambda: encoded(Image.fromarray(picture(40, 50)).quantize(16)),
    "bits.png": lambda: encoded(Image.fromarray(picture(40, 50)[..., 0]).convert("1")),
    "print.tif": lambda: encoded(Image.fromarray(picture(40, 50)).convert("CMYK"), "TIFF"),
}


def test_any_photograph_gets_colors_and_keeps_its_lightness(job, tmp_path: Path) -> None:
    for name, made in KINDS.items():
        write_bytes(str(tmp_path / "in" / name), made())
    status, output, errors = job(f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}/")
    assert (status, errors) == (0, "") and f"{len(KINDS)} pictures colored" in output
    for name in KINDS:
        before, after = Image.open(tmp_path / "in" / name), Image.open(tmp_path / "out" / name)
        assert after.size == before.size and after.mode == "RGB" and not is_grey(after), name
        if before.mode == "I;16":
            before = Image.fromarray((np.array(before) >> 8).astype(np.uint8))
        # Black and white have no colors that a screen can show: they are cut off, which changes the lightness.
        error = (lightness(after) - lightness(before)).abs()
        assert float(error.median()) < (3 if name.endswith(("jpg", "bits.png")) else 1), name


def test_transparency_is_kept_where_the_file_can_have_it(job, tmp_path: Path) -> None:
    assert Image.fromarray(picture(40, 30, 4)).mode == "RGBA"
    (tmp_path / "logo.png").write_bytes(encoded(Image.fromarray(picture(40, 30, 4))))
    assert job(f"input={tmp_path / 'logo.png'}", f"output={tmp_path / 'out.png'}")[0] == 0
    photo = photos.read((tmp_path / "out.png").read_bytes())
    for out in ("out.png", "out.webp", "out.jpg"):
        made = Image.open(io.BytesIO(photos.write(photo, out).data))
        assert made.mode == ("RGB" if out == "out.jpg" else "RGBA")
        if made.mode == "RGBA":
            assert np.array_equal(np.array(made)[..., 3], picture(40, 30, 4)[..., 3])


def test_a_camera_that_was_turned(job, tmp_path: Path) -> None:
    image = Image.fromarray(picture(60, 40))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    (tmp_path / "turned.jpg").write_bytes(encoded(image, "JPEG", exif=exif.tobytes(), quality=95))
    assert job(f"input={tmp_path / 'turned.jpg'}", f"output={tmp_path / 'out.jpg'}")[0] == 0
    made = Image.open(tmp_path / "out.jpg")
    assert made.size == (40, 60) and made.getexif().get(0x0112, 1) == 1
    error = (lightness(made) - lightness(image.transpose(Image.Transpose.ROTATE_270))).abs()
    assert float(error.median()) < 3


def test_a_folder_with_what_is_no_image(job, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "in" / "colored"
    (source / "deep").mkdir(parents=True)
    for name in ("a.png", "b.gif", "b.png", "deep/c.jpg"):
        kind = {"png": "PNG", "gif": "GIF", "jpg": "JPEG"}[name[-3:]]
        (source / name).write_bytes(encoded(Image.fromarray(picture(40, 33)[..., 0]), kind))
    (source / "broken.png").write_bytes((source / "a.png").read_bytes()[:-90])
    (source / "notes.txt").write_text("no image")
    status, output, errors = job(f"input={source}", f"output={target}")
    assert (status, errors) == (0, "") and "4 pictures colored, 2 left out" in output
    assert all(f"left out {source / name}: " in output for name in ("broken.png", "notes.txt"))
    made = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert made == {"a.png", "b.gif.png", "b.png", "deep/c.jpg"}
    assert not any(is_grey(Image.open(target / name)) for name in made)
    assert len(pictures.paths(str(source), str(target)).pairs) == 6  # what was made is not colored again


def test_on_an_object_store(job, s3_storage: str, s3: S3Server) -> None:
    for name in ("one.png", "two.png"):
        write_bytes(f"{s3_storage}/in/{name}", encoded(Image.fromarray(picture(40, 33)[..., 0])))
    assert job(f"input={s3_storage}/in", f"output={s3_storage}/out")[0] == 0
    assert not is_grey(Image.open(io.BytesIO(read_bytes(f"{s3_storage}/out/two.png"))))


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("a.png", None, "output"),
        ("a.png", "a.png", "the input itself"),
        ("a.png", ".", "the input itself"),
        ("none", "none", "the input itself"),
        ("a.png", "out.xyz", ".png, .jpg"),
        ("no.png", "out.png", "no such picture"),
        ("empty", "out.png", "no such picture"),
        ("notes.txt", "out.png", "not an image"),
        ("none", "into", "not one of 1"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, model: str, source: str, target: str | None, says: str) -> None:
    data = encoded(Image.fromarray(picture(40, 33)))
    for name, content in (("a.png", data), ("notes.txt", b"no image"), ("none/notes.txt", b"no image")):
        write_bytes(str(tmp_path / name), content)
    (tmp_path / "empty").mkdir()
    colors = colorizer.Colorizer(Stage.existing(model), torch.device("cpu"))
    with pytest.raises(InputError, match=says):
        pictures.color(pictures.paths(str(tmp_path / source), target and str(tmp_path / target)), colors)
    assert (tmp_path / "a.png").read_bytes() == data and not (tmp_path / "out.png").exists()


def test_what_is_wrong_is_one_line(job, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(picture(40, 33))))
    status, _, errors = job(f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'a.png'}")
    assert status == 2 and "the input itself" in one_line(errors)
    status, _, errors = job(f"input={tmp_path / 'a.png'}", "output=/proc/dsopt/out.png")  # not even root can write there
    assert status == 2 and one_line(errors).startswith("error: output=/proc/dsopt: cannot be written")
    status, _, errors = job(f"input={tmp_path / 'a.png'}", f"output={tmp_path / 'out.png'}", model=str(tmp_path / "none"))
    assert status == 2 and str(tmp_path / "none") in one_line(errors)


def test_a_large_photograph_is_colored_as_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsopt.generation import colorize

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Tanh())
    pixels = torch.from_numpy(picture(90, 70)).permute(2, 0, 1)
    whole = colorized(pixels, network, 32, 32)
    monkeypatch.setattr(colorize, "ROWS", 16)
    assert torch.equal(colorized(pixels, network, 32, 32), whole) and whole.shape == (3, 70, 90)


def test_a_damaged_photograph_says_why() -> None:
    with pytest.raises(Unusable, match="image cannot be decoded"):
        photos.read(encoded(Image.fromarray(picture(90, 70)))[:200])


def test_the_network_sees_it_as_small_as_it_learned() -> None:
    seen = []

    def colors(given: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(given.shape[2:]))
        return torch.zeros(1, 2, *given.shape[2:])

    for width, height in ((300, 200), (200, 300), (20, 20), (5000, 10)):
        colorized(photos.read(encoded(Image.fromarray(picture(width, height)))).pixels, colors, 32, 32)
    assert seen == [(32, 64), (64, 32), (32, 32), (32, 256)]
