"""The colorizer's networks: shapes at every size, against published counts, and what each of them looks at."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dsopt.models.unet import NearestConv
from dsopt.registry import MODELS

SIZES = [32, 64, 128, 256]


def unet(size: int, **options) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build("unet", {"width": 2} | options)(2, size)


def patch(size: int, **options) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build("patch_discriminator", {"width": 2} | options)(2, size, 0)


@pytest.mark.parametrize("upsample", ["nearest", "transposed"])
@pytest.mark.parametrize("size", SIZES)
def test_colors_of_every_size(size: int, upsample: str) -> None:
    network, lightness = unet(size, upsample=upsample), 2 * torch.rand(2, 1, size, size) - 1
    colors = network(None, lightness)
    assert colors.shape == (2, 2, size, size) and float(colors.detach().abs().max()) <= 1
    colors.square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.parameters())


def test_other_sizes_are_not_offered() -> None:
    for name in ("unet", "patch_discriminator"):
        sizes = MODELS.traits(name).sizes
        assert all(map(sizes, SIZES)) and not any(map(sizes, (16, 28, 48, 512))) and "256" in sizes.description


def test_a_trained_network_takes_any_multiple() -> None:
    network = unet(32).eval()
    assert network.multiple == 32
    assert network(None, torch.rand(1, 1, 64, 96)).shape == (1, 2, 64, 96)


def test_counts_are_those_of_pix2pix() -> None:
    """54,413,955 and 2,768,705 in the authors' code, for three channels in and out. We have biases in the outermost and innermost
    convolution (64 + 512), two channels less to take (2 x 64 x 16) and one less to make (128 x 16 + 1)."""
    with torch.device("meta"):
        generator = MODELS.build("unet", {"upsample": "transposed", "dropped": 3})(2, 256)
        discriminator = MODELS.build("patch_discriminator")(2, 256, 0)  # 1 + 2 channels instead of 3 + 3
    assert sum(p.numel() for p in generator.parameters()) == 54_413_955 + 576 - 2 * 64 * 16 - (128 * 16 + 1)
    assert sum(p.numel() for p in discriminator.parameters()) == 2_768_705 - 3 * 64 * 16


def test_doubling_in_one_convolution() -> None:
    torch.manual_seed(0)
    layer, x = NearestConv(3, 5, bias=True), torch.randn(2, 3, 4, 6)
    plain = F.conv2d(F.interpolate(x, scale_factor=2), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), plain)
    for mine, expected in zip(*(torch.autograd.grad(y.square().sum(), layer.parameters()) for y in (layer(x), plain)), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", range(4))
def test_every_skip_is_used(level: int) -> None:
    """Also the outermost, which the colorization study's own code forgets."""
    network = unet(32, dropped=0)
    network.up[level].register_forward_hook(lambda module, given, made: torch.zeros_like(made))  # nothing comes from within
    lightness = torch.rand(2, 4, 1, 32, 32)
    assert not torch.allclose(network(None, lightness[0]), network(None, lightness[1]))


def test_dropout_is_where_it_is_wanted() -> None:
    for dropped in (0, 1, 3):
        network = unet(32, dropped=dropped, dropout=0.25)
        with_dropout = [any(isinstance(m, nn.Dropout) for m in up) for up in network.up]
        assert with_dropout == [i < dropped for i in range(5)]
    still = unet(32, dropped=0).eval()
    lightness = torch.rand(1, 1, 32, 32)
    assert torch.equal(still(None, lightness), still(torch.rand(1, 8), lightness))


@pytest.mark.parametrize(("size", "halvings", "pixels"), [(32, 1, 16), (32, None, 34), (64, None, 70), (256, None, 70)])
def test_a_patch_is_as_large_as_is_said(size: int, halvings: int | None, pixels: int) -> None:
    discriminator, side = patch(size, halvings=halvings, norm="none").eval(), 256
    colors = torch.zeros(1, 2, side, side, requires_grad=True)
    scores = discriminator(colors, torch.zeros(1, 1, side, side)).score
    middle = scores.shape[1] // 2 + round(scores.shape[1] ** 0.5) // 2
    scores[0, middle].backward()
    assert colors.grad is not None
    seen = colors.grad[0].abs().sum(0) > 0
    assert (int(seen.any(0).sum()), int(seen.any(1).sum())) == (pixels, pixels)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_a_discriminator_sees_both(norm: str) -> None:
    discriminator = patch(32, norm=norm)
    colors, lightness = torch.rand(2, 2, 2, 32, 32), torch.rand(2, 2, 1, 32, 32)
    discriminator(colors[0], lightness[0])
    discriminator.eval()
    score = discriminator(colors[0], lightness[0]).score
    assert score.shape == (2, 36)
    for other in (discriminator(colors[1], lightness[0]), discriminator(colors[0], lightness[1])):
        assert not torch.allclose(other.score, score)
    normed = any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    assert normed == (norm == "batch")
