"""Instance normalization with fast second derivatives."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class InstanceNorm2d(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d(affine=True)` with a hand-written second derivative.

    torch composes the second derivative from some fifty passes over tensors as large as the input, which take up to half of the
    time of an unrolled step of ConvNet. Written out, it takes five sums and two linear combinations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        # Under autocast, images are in bfloat16; CUDA's kernel does not take these together with float32 weights.
        return _Norm.apply(input.to(self.weight.dtype), self.weight, self.bias, self.eps)  # pyright: ignore[reportReturnType]


class _Norm(torch.autograd.Function):
    """y = weight * (x - mean) / sd + bias, with the mean and standard deviation of each channel of each image.

    That is group normalization with groups of one channel, whose kernels are used.
    """

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
        arguments = (g.contiguous(), x.contiguous(), mean, scale, weight, b, c, h * w, c)
        return torch.ops.aten.native_group_norm_backward(*arguments, [True, True, True])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the first derivatives.

        With z = (x - mean) * scale and the symmetric projection P(u) = u - mean(u) - z mean(z u), the first derivatives are

            dx = scale P(weight g),  dweight = sum(g z),  dbias = sum(g).

        This function computes the gradient of <v, dx> + <p, dweight> + <q, dbias> with respect to (g, x, weight), where v, p and q
        are the cotangents. The gradient with respect to z, for a fixed scale, is

            u = p g - scale (mean(z weight g) v + mean(z v) weight g).

        From z to x it is scale P(u), as in the first derivative; in addition d scale / dx = -scale^2 z / n. All of it is a linear
        combination of v, g and z with one coefficient a channel, so that no sum is taken twice.
        """
        g, x, weight, mean, scale = ctx.saved_tensors
        b, c, h, w = x.shape
        v, p, q = cotangents[0], cotangents[1].view(1, c, 1, 1), cotangents[2].view(1, c, 1, 1)
        weight, r = weight.view(1, c, 1, 1), scale.view(b, c, 1, 1)
        centered = x - mean.view(b, c, 1, 1)  # z / r

        v1, g1, vg = _mean(v), _mean(g), _mean(v * g)
        vz, gz = r * _mean(v * centered), r * _mean(g * centered)
        v_pg = vg - v1 * g1 - vz * gz  # mean(v P(g))

        by_weight = (r * v_pg).sum(0).flatten() * (h * w)
        by_g = torch.addcmul(q - r * weight * v1, v, r * weight).addcmul_(centered, r * (p - r * weight * vz))

        u_v, u_g = -r * weight * gz, p - r * weight * vz  # coefficients of v and g in u
        u1, uz = u_v * v1 + u_g * g1, u_v * vz + u_g * gz  # mean(u), mean(u z)
        by_x = torch.addcmul(-r * u1, v, r * u_v).addcmul_(g, r * u_g)
        by_x = by_x.addcmul_(centered, -r * r * (uz + r * weight * v_pg))
        return by_g, by_x, by_weight, None, None


def _mean(values: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 1 1"]:
    return values.mean((2, 3), keepdim=True)
