import shutil

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from dsopt import native
from dsopt.models import pooled
from dsopt.models.lenet import lenet
from dsopt.models.pooled import Pooled

SHAPES = [(1, 6, 5, (14, 14)), (6, 16, 5, (14, 14)), (2, 3, 3, (8, 11)), (3, 9, 2, (7, 6))]  # channels in, out, kernel, image
with_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def both(channels: int, outputs: int, k: int, dtype: torch.dtype = torch.float64) -> tuple[Pooled, nn.Sequential]:
    """Ours and torch's, of the same modules."""
    modules = [nn.Conv2d(channels, outputs, k, dtype=dtype), nn.ReLU(), nn.MaxPool2d(2)]
    return Pooled(*modules), nn.Sequential(*modules)


def compiled(network: Pooled, images: Tensor) -> bool:
    return pooled._library(images, list(network)) is not None


@with_compiler
@pytest.mark.parametrize(("channels", "outputs", "k", "size"), SHAPES)
@pytest.mark.parametrize("images", [1, 70])
def test_values_and_three_derivatives_are_those_of_torch(
    channels: int, outputs: int, k: int, size: tuple[int, int], images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled.torch, "get_num_threads", lambda: 3)
    torch.manual_seed(0)
    ours, theirs = both(channels, outputs, k)
    x = torch.randn(images, channels, *size, dtype=torch.float64, requires_grad=True)
    assert compiled(ours, x)
    inputs = [x, *ours.parameters()]

    def found(network: nn.Module) -> list[Tensor]:
        values = [network(x)]
        for power in (1.5, 3, 2):  # of every derivative a function that is not linear, and its derivatives
            outer = sum((value.abs() ** power).sum() for value in values[-3:])
            values += torch.autograd.grad(outer, inputs, create_graph=True)  # pyright: ignore
        return values

    for mine, wanted in zip(found(ours), found(theirs), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.slow
@with_compiler
def test_derivatives_against_finite_differences() -> None:
    torch.manual_seed(0)
    network, _ = both(2, 3, 3)
    layer = network[0]
    inputs = (torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True), layer.weight, layer.bias)

    def made(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional_call(network, {"0.weight": weight, "0.bias": bias}, (images,))

    assert compiled(network, inputs[0])
    assert torch.autograd.gradcheck(made, inputs) and torch.autograd.gradgradcheck(made, inputs)


@with_compiler
def test_float32_and_any_layout_of_images() -> None:
    torch.manual_seed(0)
    ours, theirs = both(3, 6, 5, torch.float32)
    for x in (torch.randn(5, 3, 12, 12).to(memory_format=torch.channels_last), torch.randn(12, 5, 3, 12).permute(1, 2, 0, 3)):
        assert compiled(ours, x)
        torch.testing.assert_close(ours(x), theirs(x))


@with_compiler
def test_what_is_not_a_number_goes_on() -> None:
    ours, theirs = both(1, 2, 3, torch.float32)
    for place in (0, 2, 5):
        x = torch.randn(1, 1, 6, 6)
        x[0, 0, place, place] = torch.nan
        assert compiled(ours, x) and torch.equal(ours(x).isnan(), theirs(x).isnan())


def test_other_modules_are_applied_as_they_are() -> None:
    x = torch.randn(2, 3, 8, 8)
    for layer, pool in (
        (nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)),
        (nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2)),
        (nn.Conv2d(3, 4, 3, bias=False), nn.MaxPool2d(2)),
        (nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2)),
        (nn.Conv2d(3, 4, 3), nn.AvgPool2d(2)),
    ):
        network = Pooled(layer, nn.ReLU(), pool, nn.Flatten())
        assert not compiled(network, x)
        torch.testing.assert_close(network(x), nn.Sequential(*network)(x))
    for wrong in (torch.randn(2, 1, 8, 8), torch.randn(2, 3, 2, 2)):  # C would read what is not there
        with pytest.raises(RuntimeError):
            both(3, 4, 3, torch.float32)[0](wrong)
    network = both(3, 4, 3, torch.float32)[0]
    assert not compiled(network.to(torch.bfloat16), x.bfloat16()) and not compiled(both(3, 4, 3)[0], x)


@with_compiler
def test_under_autocast_it_is_of_float32() -> None:
    network, x = lenet(1, 10), torch.randn(4, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert network[:3](x.bfloat16()).dtype == torch.float32 and network(x).dtype == torch.bfloat16
        for given in (x, x.bfloat16()):
            assert compiled(network[:3], given)
            torch.testing.assert_close(network[:3](given), nn.Sequential(*network[:3])(given).float(), atol=0.02, rtol=0.02)
        gradients = torch.autograd.grad(network(x).float().sum(), list(network.parameters()))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


def test_without_a_compiler_lenet_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = lenet(1, 10), torch.randn(4, 1, 32, 32)
    made = network(x)
    assert set(network.state_dict()) == {f"{layer}.{kind}" for layer in (0, 3, 7, 9, 11) for kind in ("weight", "bias")}
    monkeypatch.setattr(pooled, "_compiled", lambda *shape: None)
    torch.testing.assert_close(network(x), made)


@with_compiler
def test_c_is_compiled_once_and_kept(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "number.c"
    source.write_text("int number(void) { return NUMBER; }")
    for number in (3, 4, 3):
        assert native.library(source, NUMBER=number).number() == number
    assert len(list((tmp_path / "dsopt" / "native").iterdir())) == 2
    source.write_text("int number(void) { return NUMBER + 1; }")
    assert native.library(source, NUMBER=3).number() == 4


def test_no_compiler_and_no_place_are_no_errors(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "wrong.c"
    source.write_text("int number(void) { return }")
    if shutil.which("cc"):
        with pytest.warns(UserWarning, match=r"wrong\.c is not compiled by .*cc: "):
            assert native.library(source) is None
        assert not list((tmp_path / "dsopt" / "native").iterdir())
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.warns(UserWarning, match="Not a directory"):
            assert native.library(source) is None
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(native.Path, "home", homeless)
        with pytest.warns(UserWarning, match="no home"):
            assert native.library(source) is None
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    assert native.library(source) is None


def homeless() -> None:
    raise RuntimeError("no home")
