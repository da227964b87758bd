"""Instance normalisation whose second derivatives cost what its first do."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d(affine=True)`, made to be differentiated twice.

    torch composes the second derivative of some fifty passes over tensors as large as the input, which are up to half of the time
    of an unrolled step of ConvNet. Written out, it is five sums and two linear combinations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        # Under autocast images are in bfloat16, and no GPU takes them so with weights in float32.
        return _Norm.apply(input.to(self.weight.dtype), self.weight, self.bias, self.eps)  # pyright: ignore[reportReturnType]


class _Norm(torch.autograd.Function):
    """y = weight * (x - mean) / sd + bias, with the mean and the deviation of a channel of an image: groups of one channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        b, c, h, w = x.shape
        y, mean, scale = torch.native_group_norm(x.contiguous(), weight, bias, b, c, h * w, c, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return *_Gradient.apply(gradients[0], *ctx.saved_tensors), None  # pyright: ignore[reportGeneralTypeIssues]


class _Gradient(torch.autograd.Function):
    """(dL/dy, x) -> dL/dx, dL/dweight, dL/dbias."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        b, c, h, w = x.shape
        ctx.save_for_backward(g, x, weight, mean, scale)
        given = (g.contiguous(), x.contiguous(), mean, scale, weight, b, c, h * w, c)
        return torch.ops.aten.native_group_norm_backward(*given, [True, True, True])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """With z = (x - mean) * scale and P(u) = u - mean(u) - z mean(z u), which is symmetric, the first derivatives are

            dx = scale P(weight g),  dweight = sum(g z),  dbias = sum(g),

        and here is the gradient in (g, x, weight) of <v, dx> + <p, dweight> + <q, dbias>. The gradient in z, for a fixed scale, is
        u = p g - scale (mean(z weight g) v + mean(z v) weight g); from z to x it is scale P(u), as ever; and the scale itself falls
        with x by scale^2 z / n. All of it is made of v, g and z, times one number a channel: no sum is taken twice.
        """
        g, x, weight, mean, scale = ctx.saved_tensors
        b, c, h, w = x.shape
        v, p, q = cotangents[0], cotangents[1].view(1, c, 1, 1), cotangents[2].view(1, c, 1, 1)
        weight, r = weight.view(1, c, 1, 1), scale.view(b, c, 1, 1)
        centred = x - mean.view(b, c, 1, 1)  # z / r
        v1, g1, vz, gz, vg = _mean(v), _mean(g), r * _mean(v * centred), r * _mean(g * centred), _mean(v * g)
        through = vg - v1 * g1 - vz * gz  # mean(v P(g))
        by_weight = (r * through).sum(0).flatten() * (h * w)
        by_g = torch.addcmul(q - r * weight * v1, v, r * weight).addcmul_(centred, r * (p - r * weight * vz))
        of_v, of_g = -r * weight * gz, p - r * weight * vz  # of u
        u1, uz = of_v * v1 + of_g * g1, of_v * vz + of_g * gz
        by_x = torch.addcmul(-r * u1, v, r * of_v).addcmul_(g, r * of_g).addcmul_(centred, -r * r * (uz + r * weight * through))
        return by_g, by_x, by_weight, None, None


def _mean(values: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
    return values.mean((2, 3), keepdim=True)
