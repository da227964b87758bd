"""Embeddings by encoders of libraries: of the originals where these are larger, exactly one row an image, several side by side."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform
from timm.data.config import resolve_model_data_config

from dsopt.config import load
from dsopt.data import decoding
from dsopt.data.nvjpeg import GpuDecoder
from dsopt.errors import InputError
from dsopt.models import filters
from dsopt.models.libraries.contract import Preparation, prepared
from dsopt.pipeline import encoding
from dsopt.pipeline.plan import Plan
from dsopt.stages import embed, select
from dsopt.storage import Stage, Table

NAME = "test_efficientnet"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 190x170, but for some that are as small as a working copy."""
    folder, numbers = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(12):
        size = (32, 32) if i % 6 == 5 else (190, 170)
        file = folder / "ab"[i % 2] / f"{i}.jpg"
        file.parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(numbers.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(file, quality=95)
    torch.manual_seed(0)
    save_file(timm.create_model(NAME).state_dict(), folder.parent / "weights.safetensors")
    return folder


def made(storage: str | Path, photos: Path, *more: str) -> Stage:
    base = ["data.name=folder", f"data.root={photos}", f"storage={storage}", "cluster.workers=0", "data.check=off"]
    weights = f"embed.weights={photos.parent}/weights.safetensors"
    plan = Plan(load([*base, f"embed.encoder=timm:{NAME}", weights, *more]))
    stage = embed.embeddings(plan)
    plan.run(stage)
    return stage


def values(stage: Stage) -> np.ndarray:
    return Table(stage.uri).read()["embedding"].combine_chunks().to_numpy_ndarray()


@torch.inference_mode()
def by_timm(pictures: list[Image.Image], photos: Path) -> np.ndarray:
    overlay = {"file": f"{photos.parent}/weights.safetensors"}
    network = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    transform = create_transform(**resolve_model_data_config(network))
    batch = torch.stack([transform(picture.convert("RGB")) for picture in pictures])  # pyright: ignore
    return network.forward_head(network.forward_features(batch), pre_logits=True).numpy()


def test_originals_are_seen_where_they_are_larger_than_the_copies(
    photos: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "BLOCK", 4)  # several blocks a part
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 0)
    stage = made(storage, photos, "embed.batch_size=4")
    rows = Table(stage.inputs["images"].uri).read("train").to_pylist()
    originals = [Image.open(row["uri"]) for row in rows]
    assert {picture.size for picture in originals} == {(190, 170), (32, 32)}
    assert np.allclose(values(stage), by_timm(originals, photos), atol=1e-5)
    assert Table(stage.uri).read()["id"].to_pylist() == [row["id"] for row in rows]


def test_copies_are_seen_where_they_suffice(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "read_originals", lambda wanted: pytest.fail("originals were read"))
    stage = made(tmp_path, photos, "embed.size=32")
    copies = [Image.open(io.BytesIO(r["image"]["bytes"])) for r in Table(stage.inputs["images"].uri).read("train").to_pylist()]
    assert all(copy.size == (32, 32) for copy in copies)
    assert np.isfinite(values(stage)).all()
    monkeypatch.undo()
    assert made(tmp_path, photos).hash != stage.hash


def test_a_lost_original_is_named(photos: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in photos.rglob("*.jpg"):
        (moved / file.parent.name).mkdir(exist_ok=True)
        (moved / file.parent.name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "weights.safetensors").write_bytes((photos.parent / "weights.safetensors").read_bytes())
    made(tmp_path / "runs", moved, "embed.size=32")  # ingested
    plan = Plan(
        load(
            [
                *("data.name=folder", f"data.root={moved}", f"storage={tmp_path}/runs", "cluster.workers=0", "data.check=off"),
                *(f"embed.encoder=timm:{NAME}", f"embed.weights={tmp_path}/weights.safetensors"),
            ]
        )
    )
    stage = embed.embeddings(plan)
    (moved / "a" / "0.jpg").unlink()
    (moved / "a" / "2.jpg").unlink()
    with pytest.raises(InputError, match=r"\.jpg: its original is no longer at "):
        plan.run(stage)


def test_several_side_by_side_in_half_the_space_are_chosen_from(photos: Path, tmp_path: Path) -> None:
    one = made(tmp_path, photos)
    more = ("autoencoder.steps=2", "autoencoder.batch_size=4", "autoencoder.options.width=8")
    plan = Plan(
        load(
            [
                *("data.name=folder", f"data.root={photos}", f"storage={tmp_path}", "cluster.workers=0", "data.check=off"),
                *(f"embed.encoder=[timm:{NAME},autoencoder]", f"embed.weights={photos.parent}/weights.safetensors"),
                *("embed.dtype=fp16", "select.name=kcenter", "select.budget=3", *more),
            ]
        )
    )
    chosen = select.subset(plan, plan.config.select, 0)
    plan.run(chosen)
    both = values(chosen.inputs["embeddings"])
    size = values(one).shape[1]
    assert both.dtype == np.float16 and both.shape[1] > size
    assert np.allclose(both[:, :size], values(one), atol=1e-2)
    assert len(Table(chosen.uri).read()) == 3


def test_weights_are_given_for_every_encoder_of_a_library() -> None:
    for given in (["embed.encoder=[timm:a,timm:b]", "embed.weights=x"], ["embed.weights=x"]):
        with pytest.raises(InputError, match=r"embed\.weights=\['x'\]: must be one for each of "):
            load(given)
    with pytest.raises(
        InputError, match=r"embed\.encoder=\['autoencode'\]: must be a list of values autoencoder, filters, proxy, "
    ):
        load(["embed.encoder=autoencode"])


def test_a_gpu_that_decodes_gives_nearly_the_same_rows_in_the_same_order(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "BLOCK", 4)
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 0)
    mixed, picture = tmp_path / "mixed", Image.open(photos / "a" / "0.jpg")
    shutil.copytree(photos, mixed)
    shutil.copy(photos.parent / "weights.safetensors", tmp_path)
    picture.save(mixed / "a" / "0.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(mixed / "b" / "turned.jpg", exif=turned, quality=95)
    all_of_them = "data.test_fraction=0.0001"
    by_cpu, on_gpu = made(tmp_path / "runs", mixed, all_of_them), 0

    def decoded(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        nonlocal on_gpu
        on_gpu += len(files)
        return [decoding.decoded(file) for file in files]

    def of_encoder(encoder, data, device, decode):
        assert decode == "gpu" and encoder.shrunk is not None
        return encoding.of_encoder(encoder, data, device)._replace(see_many=GpuDecoder(encoder.shrunk, device))

    monkeypatch.setattr(decoding, "decoded_on_gpu", decoded)
    monkeypatch.setattr(embed, "of_encoder", of_encoder)
    by_gpu = made(tmp_path / "runs", mixed, all_of_them, "embed.decode=gpu")
    assert by_gpu.hash != by_cpu.hash and on_gpu == 12 and len(values(by_gpu)) == 14
    assert Table(by_gpu.uri).read()["id"].equals(Table(by_cpu.uri).read()["id"])
    apart = np.abs(values(by_gpu) - values(by_cpu)).max(1)
    assert 0 < apart.max() < 0.05 * np.ptp(values(by_cpu), 0).max()


def test_a_gpu_decodes_for_encoders_that_take_pixels_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, encoder = load([]).data, prepared(torch.nn.Identity(), Preparation(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    assert encoding.of_encoder(encoder, data, torch.device("cuda"), "gpu").see_many is not None
    assert encoding.of_encoder(encoder, data, torch.device("cuda")).see_many is None
    with pytest.raises(
        InputError, match=r"embed\.decode=gpu: the encoder runs on a CPU here; expected a GPU, or embed\.decode=cpu"
    ):
        encoding.of_encoder(encoder, data, torch.device("cpu"), "gpu")
    with pytest.raises(InputError, match=r"embed\.decode=gpu: must be cpu with autoencoder, filters and proxy"):
        load(["embed.decode=gpu"])
    (tmp_path / "seen_by_pil.py").write_text("import torch\ndef own(): return torch.nn.Identity(), lambda picture: None\n")
    monkeypatch.chdir(tmp_path)
    plan = Plan(load(["embed.decode=gpu", "embed.encoder=seen_by_pil:own", "cluster.workers=0"]))
    stage = embed.embeddings(plan)
    with pytest.raises(InputError, match=r"embed\.decode=gpu: seen_by_pil:own takes pictures of PIL; expected embed\.decode=cpu"):
        embed._check(stage, plan.config)


def test_fixed_filters_need_no_training(photos: Path, tmp_path: Path) -> None:
    """Large pictures are seen small, with any other encoder beside them."""
    stage = made(tmp_path, photos, "embed.encoder=[filters]", "embed.weights=[]", "data.image_size=96", "embed.batch_size=5")
    assert set(stage.inputs) == {"images"}
    table = Table(stage.inputs["images"].uri)
    copies = [decoding.decoded_at(decoding.as_tensor(row["bytes"]), 32) for row in table.read("train")["image"].to_pylist()]
    np.testing.assert_allclose(values(stage), filters.answers(torch.stack(copies)).numpy(), rtol=1e-4, atol=1e-5)
    joined = made(tmp_path, photos, f"embed.encoder=[filters,timm:{NAME}]", "data.image_size=96")
    assert np.array_equal(values(joined)[:, : values(stage).shape[1]], values(stage))
