"""Photographs as people have them: each gets an output of its own, and what is lost of a file is said."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from dsopt.data import photos
from dsopt.jobs.colorize import pictures
from dsopt.jobs.colorize.pictures import names_of
from dsopt.stages.colorizer import Colorizer

y, x = np.mgrid[0:24, 0:36]
GREY = Image.fromarray(((x * 5 + y) % 256).astype(np.uint8))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


class Toy(Colorizer):
    """Colors everything alike."""

    def __init__(self) -> None:
        self.size, self.multiple = 16, 4

    def __call__(self, lightness: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 2, *lightness.shape[2:]), 0.1)


def color(source: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> str:
    pictures.color(pictures.paths(str(source), str(target)), Toy())
    return capsys.readouterr().out


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def test_every_input_has_an_output_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = tmp_path / "in" / "old photos (1)" / "Ünïcode"
    deep.mkdir(parents=True)
    for folder in (tmp_path / "in", deep):
        GREY.save(folder / "same.gif")
        GREY.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(folder / "same.gif.png")
        GREY.convert("1").save(folder / "same.PNG")
    out = color(tmp_path / "in", tmp_path / "out", capsys)
    assert "6 pictures colored" in out
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    here = ["same.PNG", "same.gif-2.png", "same.gif.png"]
    assert made == sorted([*here, *(f"old photos (1)/Ünïcode/{name}" for name in here)])
    upper, lower = (np.asarray(Image.open(tmp_path / "out" / name).convert("L")) for name in ("same.gif-2.png", "same.gif.png"))
    assert np.abs(upper[::-1].astype(int) - lower).mean() < 2  # each is what it was


def test_names_do_not_depend_on_the_order() -> None:
    files = ["a.gif", "a.gif.png", "a.gif-2.png", "a.jpg", "a.png"]
    assert names_of(files) == names_of(files[::-1]) == {file: file for file in files[1:]} | {"a.gif": "a.gif-3.png"}
    assert names_of(["A.GIF", "a.gif.png"])["A.GIF"] == "A.GIF-2.png"  # where capitals make no other name


def test_profile_and_resolution_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for name, kind in (("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.tif", "TIFF")):
        (tmp_path / "in" / name).write_bytes(encoded(GREY.convert("RGB"), kind, dpi=(600, 300), icc_profile=PROFILE))
    assert "not kept" not in color(tmp_path / "in", tmp_path / "out", capsys)
    for path in (tmp_path / "out").iterdir():
        made = Image.open(path)
        assert made.info["icc_profile"] == PROFILE
        assert [round(float(each)) for each in made.info["dpi"]] == [600, 300], path


def test_a_turned_picture_has_its_resolution_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = photos.read(encoded(GREY, "JPEG", dpi=(600, 300), exif=exif))
    assert photo.pixels.shape == (3, 36, 24) and photo.resolution == (300, 600) and photo.lost == ()


def test_what_is_lost_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    dated = Image.Exif()
    dated[0x0132] = "1956:01:01 00:00:00"
    cmyk = bytearray(PROFILE)
    cmyk[16:20] = b"CMYK"
    more = [GREY.transpose(Image.Transpose.FLIP_TOP_BOTTOM), GREY]
    wanted = {
        "pages.tif": (encoded(GREY, "TIFF", save_all=True, append_images=more), "2 further pages"),
        "moving.gif": (encoded(GREY, "GIF", save_all=True, append_images=more[:1]), "1 further page"),
        "deep.png": (encoded(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257), "PNG"), "more than 8 bits a pixel"),
        "print.jpg": (encoded(GREY.convert("CMYK"), "JPEG", icc_profile=bytes(cmyk)), "an ICC profile that is not for RGB"),
        "dated.jpg": (encoded(GREY, "JPEG", exif=dated), "EXIF data"),
        "plain.webp": (encoded(GREY.convert("RGB"), "WEBP", icc_profile=PROFILE), ""),
    }
    for name, (data, _) in wanted.items():
        (source / name).write_bytes(data)
    (source / "notes.txt").write_text("hello")
    (source / "empty.jpg").touch()
    os.symlink("/nowhere.jpg", source / "dead.jpg")
    out = color(source, tmp_path / "out", capsys)
    assert f"{len(wanted)} pictures colored, 3 left out" in out
    for name, (_, lost) in wanted.items():
        assert (f"not kept of {source / name}: {lost}\n" in out) if lost else f"not kept of {source / name}" not in out, name
    assert all(f"left out {source / name}" in out for name in ("notes.txt", "empty.jpg", "dead.jpg"))


def test_what_the_format_of_the_output_cannot_hold_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(encoded(GREY.convert("LA"), "PNG", dpi=(300, 300), icc_profile=PROFILE))
    out = color(tmp_path / "a.png", tmp_path / "a.ppm", capsys)
    assert f"not kept of {tmp_path / 'a.png'}: transparency, the ICC profile, the resolution" in out


@pytest.mark.parametrize("size", [(1, 1), (4, 900)])
def test_any_size(tmp_path: Path, capsys: pytest.CaptureFixture[str], size: tuple[int, int]) -> None:
    GREY.resize(size).save(tmp_path / "a.png")
    color(tmp_path / "a.png", tmp_path / "out.png", capsys)
    assert Image.open(tmp_path / "out.png").size == size
