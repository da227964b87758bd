"""Encoders of other libraries and of the user: the same numbers as by the library's own code, and clear refusals."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from timm.data import create_transform
from timm.data.config import resolve_model_data_config

from dsopt.data.decoding import pixels_of
from dsopt.errors import InputError
from dsopt.models import libraries
from dsopt.models.libraries.contract import FILTERS, Encoder, Preparation, prepared

REAL = Path(__file__).parents[3] / "shared" / "weights" / "tf_efficientnet_lite0.safetensors"
PICTURES = [Image.fromarray(pixels) for pixels in load_sample_images().images]


@torch.inference_mode()
def embedded(encoder: Encoder, pictures: list[Image.Image] = PICTURES) -> torch.Tensor:
    return encoder.network(encoder.finish(torch.stack([encoder.see(picture) for picture in pictures])))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_timm_as_by_timm(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=7).eval()
    file = tmp_path / f"weights.{suffix}"
    save_file(network.state_dict(), file) if suffix == "safetensors" else torch.save(network.state_dict(), file)
    transform = create_transform(**resolve_model_data_config(network))
    with torch.inference_mode():
        batch = torch.stack([transform(picture) for picture in PICTURES])  # pyright: ignore
        expected = network.forward_head(network.forward_features(batch), pre_logits=True)
    assert torch.allclose(embedded(libraries.encoder("timm:test_efficientnet", str(file))), expected, atol=1e-6)
    small = libraries.encoder("timm:test_efficientnet", str(file), 64)
    assert small.size == 64 and small.see(PICTURES[0]).shape == (3, 64, 64)


def test_a_transformer_of_timm_takes_another_size(tmp_path: Path) -> None:
    network = timm.create_model("test_vit", num_classes=0)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    found = embedded(libraries.encoder("timm:test_vit", str(tmp_path / "w.safetensors"), 96))
    assert found.shape == (2, 64) and found.isfinite().all()


@pytest.mark.skipif(not REAL.exists(), reason="the real weights are not here")
def test_real_weights_know_a_palace_and_a_daisy() -> None:
    encoder = libraries.encoder("timm:tf_efficientnet_lite0", str(REAL))
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=True, pretrained_cfg_overlay={"file": str(REAL)}).eval()
    with torch.inference_mode():
        assert whole.get_classifier()(embedded(encoder)).argmax(1).tolist() == [698, 985]


def test_torchvision_as_by_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v3_small(num_classes=7).eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pt")
    transform = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        batch = torch.stack([transform(picture) for picture in PICTURES])
        expected = network.classifier[:-1](network.avgpool(network.features(batch)).flatten(1))
    assert torch.allclose(
        embedded(libraries.encoder("torchvision:mobilenet_v3_small", str(tmp_path / "w.pt"))), expected, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dinov2", "clip", "siglip"])
def test_transformers_from_a_folder(kind: str, tmp_path: Path) -> None:
    import transformers  # here: every process of the tests reads this file, and one runs it

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    texts = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
    if kind == "dinov2":
        network = transformers.Dinov2Model(transformers.Dinov2Config(**tower))
        processor = transformers.BitImageProcessor(size={"shortest_edge": 64}, crop_size=56)
    elif kind == "clip":
        both = {"vision_config": tower | {"intermediate_size": 32}, "text_config": texts, "projection_dim": 16}
        network = transformers.CLIPModel(transformers.CLIPConfig(**both))
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=56)
    else:
        both = {"vision_config": tower | {"intermediate_size": 32}, "text_config": texts}
        network = transformers.SiglipModel(transformers.SiglipConfig(**both))
        processor = transformers.SiglipImageProcessor(size={"height": 56, "width": 56})
    network.eval().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    squares = [picture.crop((0, 0, 427, 427)) for picture in PICTURES]  # else the library's own ways to crop differ by a pixel
    found = embedded(libraries.encoder(f"transformers:{tmp_path}"), squares)
    with torch.inference_mode():
        pixels = processor(squares, return_tensors="pt")["pixel_values"]
        if kind == "dinov2":
            expected = network(pixels).pooler_output
        else:
            expected = network.get_image_features(pixels)
            expected = expected if isinstance(expected, torch.Tensor) else expected.pooler_output
    assert torch.allclose(found, expected, atol=2e-3 * float(expected.abs().max()))
    before = libraries.fingerprint(f"transformers:{tmp_path}")
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + " ")
    assert libraries.fingerprint(f"transformers:{tmp_path}") != before


@pytest.mark.slow
def test_open_clip_with_weights_of_a_file(tmp_path: Path) -> None:
    import open_clip  # takes 2 s, see above

    about = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
    }
    (tmp_path / "dsopt-tiny.json").write_text(json.dumps(about))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    network, _, transform = open_clip.create_model_and_transforms("dsopt-tiny")
    torch.save(network.eval().state_dict(), tmp_path / "w.pt")
    with torch.inference_mode():
        expected = network.encode_image(torch.stack([transform(picture) for picture in PICTURES]))  # pyright: ignore
    assert torch.allclose(embedded(libraries.encoder("open_clip:dsopt-tiny", str(tmp_path / "w.pt"))), expected, atol=1e-5)
    with pytest.raises(InputError, match=r"open_clip:dsopt-tiny: has no weights"):
        libraries.encoder("open_clip:dsopt-tiny")


OWN = """
import numpy as np, torch

def mine():
    return torch.nn.Flatten(), lambda picture: torch.from_numpy(np.array(picture.resize((4, 4))).copy()).float()

def wrong():
    return torch.nn.Flatten()
"""


def test_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_networks.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = embedded(libraries.encoder("my_networks:mine"))
    assert np.array_equal(found, np.stack([np.array(p.resize((4, 4))).reshape(-1) for p in PICTURES]))
    before = libraries.fingerprint("my_networks:mine")
    (tmp_path / "my_networks.py").write_text(OWN + "# changed\n")
    assert libraries.fingerprint("my_networks:mine") != before
    for name, says in [
        ("my_networks:wrong", r"returned Flatten; expected \(network, transform\)"),
        ("my_networks:other", "has no function 'other'"),
        ("nowhere:f", "the module nowhere cannot be imported: ModuleNotFoundError"),
    ]:
        with pytest.raises(InputError, match=says):
            libraries.encoder(name)
    for settings in ({"weights": "w.pt"}, {"size": 64}):
        with pytest.raises(InputError, match="a function of your own has weights and a size of its own"):
            libraries.check("my_networks:mine", **settings)  # nothing is imported: a plan asks before anything is done


def test_what_cannot_be_had_is_refused_in_one_line(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    for name, weights, says in [
        ("timm:test_efficientnet9", None, "Did you mean 'test_efficientnet'"),
        ("timm:test_efficientnet", tmp_path / "w.safetensors", "are not those of timm:test_efficientnet"),
        ("timm:test_efficientnet", tmp_path / "none", "there is no such file"),
        ("timm:test_efficientnet", tmp_path / "junk.pth", "is no file of weights"),
        ("timm:test_efficientnet", None, "cannot be had from its library"),
        ("torchvision:resnet81", None, "Did you mean 'resnet18'"),
        ("torchvision:resnet18", tmp_path / "w.safetensors", r"are not those of torchvision:resnet18: Missing key"),
        ("torchvision:squeezenet1_1", tmp_path / "w.safetensors", "no fully connected last layer"),
        ("transformers:nobody/nothing", None, "cannot be had from its library"),
    ]:
        with pytest.raises(InputError, match=says) as told:
            libraries.encoder(name, str(weights or libraries.LIBRARY))
        assert "\n" not in str(told.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.delitem(sys.modules, "dsopt.models.libraries.open_clip", raising=False)
    with pytest.raises(InputError, match=r"open_clip: is not installed .*pip install 'dsopt\[open-clip\]'"):
        libraries.encoder("open_clip:ViT-B-32")
    with pytest.raises(InputError, match=r"Did you mean 'timm'"):
        libraries.check("tim:x-y")


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize(("size", "resize", "squash"), [(96, 110, False), (96, 96, True), (97, 97, False), (150, 140, False)])
def test_pixels_are_shrunk_as_pictures_are(filter: Image.Resampling, size: int, resize: int, squash: bool) -> None:
    preparation = Preparation(size, resize, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), filter, squash)
    for picture in (PICTURES[0], PICTURES[1].rotate(90, expand=True), PICTURES[0].resize((60, 41)), PICTURES[0].resize((97, 97))):
        expected = preparation.see(picture)
        found = preparation.shrunk(pixels_of(picture))
        apart = (found.int() - expected.int()).abs()
        assert found.shape == expected.shape and apart.float().mean() < 0.3
        assert apart.gt(2).float().mean() < 0.001  # PIL clips what a filter overshoots twice, torch once
    assert prepared(torch.nn.Identity(), preparation).shrunk is not None


def test_filters_that_torch_lacks_are_pils_alone() -> None:
    preparation = Preparation(96, 96, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), Image.Resampling.LANCZOS)
    assert prepared(torch.nn.Identity(), preparation).shrunk is None
