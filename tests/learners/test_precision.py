"""What networks compute in: types, scaled losses, and what is told of them."""

import io

import pytest
import torch
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.learners import placement
from dsopt.learners.autoencoder import AutoencoderLearner
from dsopt.learners.classifier import Classifier
from dsopt.learners.placement import arithmetic, compute_dtype
from dsopt.losses.reconstruction import squared_error
from dsopt.training.worker import set_arithmetic

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("bf16", "capability", "half", "expected"),
    [
        (True, (8, 0), False, torch.bfloat16),
        (True, (9, 0), True, torch.bfloat16),
        (False, (7, 5), True, torch.float16),
        (False, (7, 5), False, torch.float32),
        (False, (6, 1), True, torch.float32),
    ],
)
def test_what_auto_is_on_a_gpu(bf16, capability, half, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert compute_dtype("auto", GPU, half) == expected
    assert [compute_dtype(name, GPU) for name in ("fp32", "fp16", "bf16")] == [torch.float32, torch.float16, torch.bfloat16]


def test_what_a_manifest_tells():
    assert arithmetic(torch.bfloat16, GPU) == "bfloat16" and arithmetic(torch.float32, CPU) == "float32"
    assert arithmetic(torch.float32, GPU) == "float32, convolutions in TF32"


def test_float32_is_set_and_not_left_to_the_environment(monkeypatch):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = True, False
    set_arithmetic()
    assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, True)
    matmul.allow_tf32, cudnn.allow_tf32 = before


def classifier() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    given = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.004, "average": 0.9, "device": CPU}
    return Classifier(network, precision="fp16", **given)


def autoencoder() -> AutoencoderLearner:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    return AutoencoderLearner(network, squared_error(), None, learning_rate=0.1, momentum=0.9, precision="fp16", device=CPU)


def batch(step: int) -> Batch:
    random = torch.Generator().manual_seed(step)
    return Batch(torch.rand(16, 1, 8, 8, generator=random), torch.arange(16) % 3, step)


def weights(learner) -> Tensor:
    return torch.cat([p.detach().flatten() for p in next(iter(learner.networks.values())).parameters()])


@pytest.mark.parametrize("make", [classifier, autoencoder])
def test_float16_learns_and_leaves_out_a_step_without_a_gradient(make):
    learner = make()
    losses = [float(learner.update(batch(0))["loss"]) for _ in range(8)]
    assert losses[-1] < losses[0] and learner.dtype == torch.float16

    learner.scaler.update(2.0**40)  # larger than float16 holds: all gradients are infinite
    before = weights(learner)
    learner.update(batch(1))
    assert torch.equal(weights(learner), before) and learner.scaler.get_scale() == 2.0**39

    saved = io.BytesIO()
    torch.save(learner.state_dict(), saved)
    resumed = make()
    resumed.load_state_dict(torch.load(io.BytesIO(saved.getvalue()), weights_only=True))
    assert resumed.scaler.get_scale() == 2.0**39


def test_emulated_bfloat16_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    placement._tell_emulated.cache_clear()
    for _ in range(2):
        assert compute_dtype("bf16", torch.device("cpu")) == torch.bfloat16
    assert capsys.readouterr().out.count("bf16 is emulated here") == 1
    compute_dtype("auto", torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    placement._tell_emulated.cache_clear()
    compute_dtype("bf16", torch.device("cpu"))
    assert "emulated" not in capsys.readouterr().out
