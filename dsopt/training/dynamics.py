"""Training dynamics: scores of every image from the predictions of a training run, without forward passes of their own.

An image is observed whenever it is in a batch, as it is there (augmented), just before the step on it, as in Toneva et al. 2019
and Pleiss et al. 2020. Paul et al. 2021 make separate passes after early epochs, and average EL2N over ten runs; in a
short run such passes would cost more than the scores are worth.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.data import room
from dsopt.data.batches import moved

CPU = torch.device("cpu")
WINDOW = 10  # in visits; J in DUAL (Cho et al. 2025, arXiv:2502.06905, section 3.1)


class Dynamics:
    """A record of the predictions for each of `n` images, over a run that visits each of them at most `visits` times.

    Memory: 4 bytes for each image and visit, and 20 bytes more for each image; on the device if it is small beside what is free
    there, as the host would otherwise wait for the logits of every step.
    """

    def __init__(self, n: int, visits: int, device: torch.device = CPU) -> None:
        self.device = device if room.fits_device(4 * n * visits, device) else CPU
        with self.device:
            self.state: dict[str, Tensor] = {
                "visits": torch.zeros(n, dtype=torch.int64),
                "probability": torch.zeros(visits, n),  # of the image's class, at each visit
                "el2n": torch.zeros(n),
                "margin": torch.zeros(n),
                "loss": torch.zeros(n),
                "right": torch.zeros(n, dtype=torch.bool),
                "learnt": torch.zeros(n, dtype=torch.bool),
                "forgotten": torch.zeros(n, dtype=torch.int64),
            }

    def __call__(self, indices: Int64[Tensor, " b"], labels: Int64[Tensor, " b"], logits: Float[Tensor, "b k"]) -> None:
        """Record the logits of a batch; an image that is twice in it counts once."""
        logits, labels, indices = logits.float().to(self.device), labels.to(self.device), moved(indices, self.device)
        probabilities = logits.softmax(1)
        columns = labels[:, None]
        target = probabilities.gather(1, columns).squeeze(1)
        best_other = logits.scatter(1, columns, -math.inf).amax(1)
        errors = probabilities.scatter_add(1, columns, torch.full_like(columns, -1, dtype=torch.float32))

        s = self.state
        correct = logits.argmax(1) == labels
        s["forgotten"][indices] += s["right"][indices] & ~correct
        s["right"][indices] = correct
        s["learnt"][indices] |= correct

        visit = s["visits"][indices].clamp(max=len(s["probability"]) - 1)
        s["probability"][visit, indices] = target
        s["visits"][indices] += 1
        s["el2n"][indices] += errors.norm(dim=1)
        s["margin"][indices] += logits.gather(1, columns).squeeze(1) - best_other
        s["loss"][indices] += -target.clamp(min=1e-12).log()

    def scores(self) -> dict[str, Float[Tensor, " n"]]:
        """One value for each image, by the names of `SCORES` that need only the dynamics. All images must have been visited."""
        s = {name: value.cpu() for name, value in self.state.items()}
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
        self.state = {name: value.to(self.device) for name, value in state.items()}


SCORES = {
    "el2n": "mean over visits of the norm of probabilities minus one-hot label (Paul et al. 2021, arXiv:2107.07075)",
    "forgetting": "how often a correct prediction became wrong; never correct: the visits (Toneva et al. 2019, arXiv:1812.05159)",
    "aum": "mean over visits of the logit of the class minus the largest other (Pleiss et al. 2020, arXiv:2001.10528)",
    "loss": "mean over visits of the cross-entropy",
    "mean_probability": "mean over visits of the probability of the class",
    "dual": "mean over windows of visits of that probability's std times one minus its mean (Cho et al. 2025, arXiv:2502.06905)",
    "grand": "norm of the last layer's gradient after the run (Paul et al. 2021: of the whole gradient, early in the run)",
    "probability": "probability of every class after the run; a list",
}


def _dual(probability: Float[Tensor, "v n"], seen: Tensor) -> Float[Tensor, " n"]:
    """Equation 4 of DUAL, over windows of WINDOW visits, or of the fewest that any image has; zero if that is a single one."""
    window = min(WINDOW, int(seen.sum(0).min()))
    total, count = torch.zeros(probability.shape[1]), torch.zeros(probability.shape[1])
    for start in range(len(probability) - window + 1 if window > 1 else 0):
        inside, whole = probability[start : start + window], seen[start : start + window].all(0)
        total += torch.where(whole, inside.std(0) * (1 - inside.mean(0)), 0.0)
        count += whole
    return total / count.clamp(min=1)
