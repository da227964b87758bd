"""No file is lost unsaid: what is an image is read, and the rest is counted by reason."""

import os
from pathlib import Path

import pytest
from PIL import features
from reading import found, picture, write

from dsopt.data.sources.kinds import is_image, suffix
from dsopt.errors import InputError
from dsopt.files import join, write_bytes


def test_images_of_unusual_suffixes_and_of_none_are_read(tmp_path: Path) -> None:
    for name, end in (("car", ".jpg"), ("bus", ".JPG"), ("tram", ".jfif"), ("bike", ""), ("ship", ".jpe"), ("tank", ".0001")):
        write(tmp_path, *(f"{name}/{i}{end}" for i in range(3)), kind="JPEG")
    read = found("folder", tmp_path)
    assert read.classes == ["bike", "bus", "car", "ship", "tank", "tram"] and read.sizes() == {"": 18}
    assert read.findings.passed_over == ()


def test_what_is_no_image_is_counted_by_reason_and_lost_classes_are_named(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png", "cat/.hidden.png")
    others = ["owl/1.heic", "owl/2.heic", "cat/notes", "dog.zip", "cat/1.txt", "emu/x"]
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not an image")
    over = {one.reason: one for one in found("folder", tmp_path).findings.passed_over}
    assert {reason: one.count for reason, one in over.items()} == {
        "a kind of picture that is not read: convert it (.heic)": 2,
        "not an image (no suffix)": 2,
        "not an image (.txt)": 1,
        "an archive (.zip)": 1,
        "hidden": 1,
    }
    assert over["a kind of picture that is not read: convert it (.heic)"].lost_classes == ("owl",) and over[
        "not an image (no suffix)"
    ].lost_classes == ("emu",)
    assert over["a kind of picture that is not read: convert it (.heic)"].examples == ("owl/1.heic", "owl/2.heic")


def test_only_files_of_unknown_suffixes_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("dsopt.data.sources.kinds._header", lambda uri: opened.append(uri) or picture()[:32])
    write(tmp_path, "cat/1.png", "cat/2", "dog/1.xyz", "dog/notes.txt")
    assert found("folder", tmp_path).sizes() == {"": 3}
    assert sorted(Path(uri).name for uri in opened) == ["1.xyz", "2"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF"])
def test_the_first_bytes_tell_an_image(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this PIL cannot write AVIF")
    assert is_image(picture(kind=kind)[:32])
    assert not any(
        is_image(other) for other in (b"", b"P", b"BM", b"{}", b"%PDF-1.7", b"\x1f\x8b\x08", b"RIFF1234WAVE", b"Picture")
    )


@pytest.mark.parametrize(
    "name, end", [("a.PNG", ".png"), ("a/b.c/d", ""), (".jpg", ""), ("x.0001", ""), ("a. b", ""), ("a.tar.gz", ".gz")]
)
def test_suffixes(name: str, end: str) -> None:
    assert suffix(name) == end


def test_a_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"no image files there; .* an archive \(\.zip\), such as photos\.zip\."):
        found("folder", tmp_path)


# --- names -----------------------------------------------------------------------------------------------------------

CLASSES = ("ice cream", "c#", "a+b", "50% off", "x;y=z?", 'it\'s "q"', "日本", "[x]{y}*", "a&b=c", "~", "$HOME", "a\\b")


def test_names_may_have_any_characters(storage: str) -> None:
    remote = storage.startswith("s3://")
    names = [name for name in CLASSES if not (remote and "\\" in name)]
    for i, name in enumerate(names):
        for k in range(2):
            write_bytes(join(storage, f"photos/{name}/p {k}+%20#?.png"), picture(10 * i + k))
    read = found("folder", join(storage, "photos"))
    assert read.broken == [] and read.classes == sorted(names) and read.sizes() == {"": 2 * len(names)}


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png")
    os.makedirs(os.fsencode(tmp_path) + b"/na\xefve/deep")
    for name in (b"/na\xefve/\xe9.png", b"/na\xefve/deep/1.png", b"/cat/\xff.png"):
        with open(os.fsencode(tmp_path) + name, "wb") as file:
            file.write(picture())
    read = found("folder", tmp_path)
    (over,) = read.findings.passed_over
    assert read.sizes() == {"": 2} and (over.reason, over.count) == ("a name that is not UTF-8", 3)
    assert over.lost_classes == ("na\\xefve",) and all(name.isascii() for name in over.examples)


def test_many_keys_and_markers_of_folders(s3_storage: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    bucket, _, prefix = s3_storage.removeprefix("s3://").partition("/")
    for i in range(30):
        write_bytes(f"{s3_storage}/photos/{'ab'[i % 2]}/{i:03}.png", picture(i))
    for marker in ("photos/", "photos/a/", "photos/empty/"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{marker}", Body=b"")
    read = found("folder", f"{s3_storage}//photos/")
    assert read.sizes() == {"": 30} and read.classes == ["a", "b"]
