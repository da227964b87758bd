"""What a training run tells about every image as it goes by: no forward pass is made for it.

An image is looked at whenever it is in a batch, as the batch shows it (augmented), just before the step that learns from it. The
papers measure so (Toneva et al. 2019 and Pleiss et al. 2020), or in passes of their own after early epochs (Paul et al. 2021, whose
EL2N is also averaged over ten runs): those cost more than they tell in a short run.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

WINDOW = 10  # visits; the J of DUAL (Cho et al. 2025, arXiv:2502.06905, section 3.1)


class Dynamics:
    """The course of every image's prediction over a run of at most `visits` looks at each of `n` images.

    Memory: 4 bytes an image and visit, and 20 an image.
    """

    def __init__(self, n: int, visits: int) -> None:
        self.state: dict[str, Tensor] = {
            "visits": torch.zeros(n, dtype=torch.int64),
            "probability": torch.zeros(visits, n),  # of the image's class, at every visit
            "el2n": torch.zeros(n),
            "margin": torch.zeros(n),
            "loss": torch.zeros(n),
            "right": torch.zeros(n, dtype=torch.bool),
            "learnt": torch.zeros(n, dtype=torch.bool),
            "forgotten": torch.zeros(n, dtype=torch.int64),
        }

    def __call__(self, indices: Int64[Tensor, " b"], labels: Int64[Tensor, " b"], logits: Float[Tensor, "b k"]) -> None:
        """Take in a batch; an image that is twice in it counts once."""
        logits, labels = logits.float().cpu(), labels.cpu()
        probabilities = logits.softmax(1)
        mine = labels[:, None]
        target = probabilities.gather(1, mine).squeeze(1)
        others = logits.scatter(1, mine, -math.inf).amax(1)
        errors = probabilities.scatter_add(1, mine, torch.full_like(mine, -1, dtype=torch.float32))
        s = self.state
        right = logits.argmax(1) == labels
        s["forgotten"][indices] += s["right"][indices] & ~right
        s["right"][indices] = right
        s["learnt"][indices] |= right
        visit = s["visits"][indices].clamp(max=len(s["probability"]) - 1)
        s["probability"][visit, indices] = target
        s["visits"][indices] += 1
        s["el2n"][indices] += errors.norm(dim=1)
        s["margin"][indices] += logits.gather(1, mine).squeeze(1) - others
        s["loss"][indices] += -target.clamp(min=1e-12).log()

    def scores(self) -> dict[str, Float[Tensor, " n"]]:
        """One number an image under every name of `SCORES`. All images must have been visited."""
        s = self.state
        visits = s["visits"].float()
        seen = torch.arange(len(s["probability"]))[:, None] < s["visits"]
        return {
            "el2n": s["el2n"] / visits,
            "forgetting": torch.where(s["learnt"], s["forgotten"], s["visits"]).float(),
            "aum": s["margin"] / visits,
            "loss": s["loss"] / visits,
            "mean_probability": (s["probability"] * seen).sum(0) / visits,
            "dual": _dual(s["probability"], seen),
        }

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)


SCORES = {
    "el2n": "mean over visits of the length of probabilities minus truth (Paul et al. 2021, arXiv:2107.07075)",
    "forgetting": "how often a right answer became a wrong one; never right: the visits (Toneva et al. 2019, arXiv:1812.05159)",
    "aum": "mean over visits of the logit of the class minus the best other (Pleiss et al. 2020, arXiv:2001.10528)",
    "loss": "mean over visits of the cross-entropy",
    "mean_probability": "mean over visits of the probability of the class",
    "dual": "mean over windows of visits of deviation times one minus mean of that probability (Cho et al. 2025, arXiv:2502.06905)",
    "grand": "length of the last layer's gradient after the run (Paul et al. 2021: the whole gradient, early in it)",
    "probability": "of every class after the run; a list",
}


def _dual(probability: Float[Tensor, "v n"], seen: Tensor) -> Float[Tensor, " n"]:
    """Equation 4 of DUAL, on windows of up to WINDOW visits, as many as every image has; nought if that is one."""
    window = min(WINDOW, int(seen.sum(0).min()))
    total, count = torch.zeros(probability.shape[1]), torch.zeros(probability.shape[1])
    for start in range(len(probability) - window + 1 if window > 1 else 0):
        inside, whole = probability[start : start + window], seen[start : start + window].all(0)
        total += torch.where(whole, inside.std(0) * (1 - inside.mean(0)), 0.0)
        count += whole
    return total / count.clamp(min=1)
