"""What an adversarial learner shows to the terms of its losses."""

import torch
from torch import Tensor, nn

from dsopt.augment.differentiable import differentiable
from dsopt.data.batches import Batch
from dsopt.learners.adversarial import AdversarialLearner, WeightedTerm
from dsopt.losses.adversarial import hinge
from dsopt.losses.terms import feature_matching
from dsopt.models.mlp import mlp_discriminator


class Perfect(nn.Module):
    """Makes what the images are."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(()))

    def forward(self, noise: Tensor, condition: None) -> Tensor:
        return self.value.expand(len(noise), 1, 24, 24)


def test_features_are_compared_of_images_that_are_transformed_alike() -> None:
    learner = AdversarialLearner(
        Perfect(),
        mlp_discriminator(1, 24, 10, width=20),
        hinge(),
        [WeightedTerm("feature_matching", 1.0, "generator", feature_matching())],
        split=lambda batch: (batch.images, None),
        noise=lambda count, random: torch.randn(count, 6, generator=random),
        augment=differentiable(["cutout", "translation"], low=0.0),
        device=torch.device("cpu"),
    )
    batch = Batch(torch.ones(16, 1, 24, 24), torch.zeros(16, dtype=torch.int64), 3)
    found = learner.update(batch)
    assert float(found["feature_matching"]) < 1e-10
