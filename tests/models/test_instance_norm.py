import torch
from torch import Tensor, nn
from torch.func import functional_call

from dsopt.models.convnet import convnet
from dsopt.models.instance_norm import InstanceNorm2d


def both(channels: int) -> tuple[InstanceNorm2d, nn.InstanceNorm2d]:
    """Ours and torch's, in float64, with the same weights, which are not 1 and 0."""
    ours, theirs = InstanceNorm2d(channels).double(), nn.InstanceNorm2d(channels, affine=True).double()
    for value in theirs.parameters():
        nn.init.normal_(value)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_values_and_derivatives_are_those_of_torch() -> None:
    torch.manual_seed(0)
    images, factor = torch.randn(3, 4, 5, 6).double() * 2 + 3, torch.randn(3, 4, 5, 6).double()

    def found(norm: nn.Module, images: Tensor) -> list[Tensor]:
        inputs = [images.requires_grad_(), *norm.parameters()]
        made = norm(images)
        first = torch.autograd.grad((made.sin() * factor).sum(), inputs, create_graph=True)
        outer = (first[0] ** 2 * factor).sum() + first[1].sin().sum() + (first[2] ** 3).sum()
        return [made, *first, *torch.autograd.grad(outer, inputs)]

    ours, theirs = both(4)
    for layout in (torch.contiguous_format, torch.channels_last):
        laid_out = images.clone(memory_format=layout)
        for mine, wanted in zip(found(ours, laid_out), found(theirs, laid_out), strict=True):
            torch.testing.assert_close(mine, wanted)


def test_derivatives_against_finite_differences() -> None:
    torch.manual_seed(0)
    norm, _ = both(2)
    inputs = (torch.randn(2, 2, 3, 3).double().requires_grad_(), norm.weight, norm.bias)

    def made(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional_call(norm, {"weight": weight, "bias": bias}, (images,))

    assert torch.autograd.gradcheck(made, inputs) and torch.autograd.gradgradcheck(made, inputs)


def test_images_of_autocast_are_normalized_in_the_type_of_the_weights() -> None:
    """No GPU takes both."""
    images = torch.randn(2, 3, 4, 4).bfloat16().requires_grad_()
    made = InstanceNorm2d(3)(images)
    assert made.dtype == torch.float32
    assert torch.autograd.grad(made.square().sum(), [images])[0].dtype == torch.bfloat16


def test_a_flat_channel_has_finite_derivatives() -> None:
    norm = InstanceNorm2d(1)
    images = torch.ones(1, 1, 4, 4, requires_grad=True)
    (first,) = torch.autograd.grad(norm(images).square().sum(), [images], create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum() + first.sum(), [images])
    assert bool(first.isfinite().all() and second.isfinite().all())


def test_convnet_has_parameters_named_as_with_torch() -> None:
    names = set(convnet(3, 10, width=4).state_dict())
    assert names == {f"{layer}.{kind}" for layer in (0, 1, 4, 5, 8, 9, 13) for kind in ("weight", "bias")}
