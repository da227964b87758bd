"""A loss as a function of one vector of weights is the network's own loss, all at once and in parts."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from small import doubles  # noqa: F401

from dsopt.distillation import functional
from dsopt.distillation.functional import flat, loss, loss_in_parts
from dsopt.models.alexcifarnet import alexcifarnet
from dsopt.models.convnet import convnet
from dsopt.models.lenet import lenet


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("make", [lenet, partial(lenet, pooling="average"), alexcifarnet, partial(convnet, width=8)])
@pytest.mark.parametrize("soft", [False, True])
def test_a_vector_of_weights_is_a_network(make, soft, monkeypatch):
    """Losses, gradients, and what second derivatives give in the direction of the gradient."""
    monkeypatch.setattr(functional, "PART", 3)  # 7 images: the last part is a smaller one
    torch.manual_seed(0)
    network, other = make(3, 10), make(3, 10)
    images, labels = torch.randn(7, 3, 32, 32, requires_grad=True), torch.arange(7)
    targets = torch.rand(7, 10).softmax(1) if soft else labels
    parameters, weights = list(network.parameters()), flat(network.parameters()).requires_grad_()
    expected = F.cross_entropy(network(images), targets)
    slopes = torch.autograd.grad(expected, parameters, create_graph=True)
    curves = torch.autograd.grad(slopes, [images, *parameters], [slope.detach() for slope in slopes])

    found = loss(other, weights, images, targets)
    (slope,) = torch.autograd.grad(found, weights, create_graph=True)
    in_images, in_weights = torch.autograd.grad(slope, [images, weights], slope.detach())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(slope.detach(), flat(slopes))
    torch.testing.assert_close(in_images, curves[0])
    torch.testing.assert_close(in_weights, flat(curves[1:]))

    term, taken = loss_in_parts(other, images.detach(), targets)
    terms = [term([weights], *part) for part in taken]
    assert len(terms) == 3
    torch.testing.assert_close(sum(terms), expected)
    parts = sum(torch.autograd.grad(term, weights)[0] for term in terms)
    torch.testing.assert_close(parts, flat(slopes))
