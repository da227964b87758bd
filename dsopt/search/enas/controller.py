"""Controllers, which sample children: an LSTM trained on their accuracies, or uniform sampling."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dsopt.learners.optim import minimize

Controller = Literal["reinforce", "uniform"]

# All constants are those of the authors' code.
HIDDEN, RANGE = 64, 0.1  # units of the LSTM; initial weights are uniform in -RANGE..RANGE
FLATTEN = 1.10 / 2.5  # logits become FLATTEN * tanh(logit), so that no operation is much more likely than another
ENTROPY = 1e-4  # weight of the entropy in the reward
DECAY = 0.99  # of the baseline's moving average


class SampledChildren(NamedTuple):
    """Children with the log-probability and the entropy of their choices."""

    genotypes: Int64[Tensor, "n fields"]
    log_probability: Float[Tensor, " n"]
    entropy: Float[Tensor, " n"]


class Policy(nn.Module):
    """Samples one field after another, each conditioned on those before it (ENAS, arXiv:1802.03268, section 2.1).

    Deviation from the authors' code: the initial logits favor no operation; theirs favor separable convolutions.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.start = nn.Parameter(torch.empty(HIDDEN))
        self.words = nn.ModuleList(nn.Embedding(size, HIDDEN) for size in sizes)
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, size, bias=False) for size in sizes)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -RANGE, RANGE)

    def forward(self, count: int) -> SampledChildren:
        """Sample `count` children with torch's global generator."""
        word, state = self.start.expand(count, -1), None
        places, chosen, entropies = [], [], []
        for embedding, head in zip(self.words, self.heads, strict=True):
            state = self.cell(word, state)
            logs = (FLATTEN * torch.tanh(head(state[0]))).log_softmax(1)
            place = torch.multinomial(logs.detach().exp(), 1)
            places.append(place)
            chosen.append(logs.gather(1, place).squeeze(1))
            entropies.append(-(logs.exp() * logs).sum(1))
            word = embedding(place.squeeze(1))
        return SampledChildren(torch.cat(places, 1), torch.stack(chosen).sum(0), torch.stack(entropies).sum(0))


class Reinforce:
    """The policy and its training: REINFORCE with a moving-average baseline (arXiv:1802.03268, section 2.2).

    The baseline starts at the mean of the first rewards, not at 0, and is updated with the mean reward of every update.
    """

    def __init__(self, sizes: Sequence[int], learning_rate: float, device: torch.device) -> None:
        self.policy = Policy(sizes).to(device)
        self.adam = torch.optim.Adam(self.policy.parameters(), learning_rate, betas=(0.0, 0.999), eps=1e-3)
        self.baseline: float | None = None

    def sample(self, count: int) -> SampledChildren:
        return self.policy(count)

    def learn(self, sampled: SampledChildren, accuracies: Float[Tensor, " n"]) -> None:
        """One step of policy gradient with the accuracies of sampled children."""
        rewards = accuracies + ENTROPY * sampled.entropy.detach()
        mean = float(rewards.mean())
        self.baseline = mean if self.baseline is None else DECAY * self.baseline + (1 - DECAY) * mean
        minimize((-(rewards - self.baseline) * sampled.log_probability).mean(), self.adam)

    def state_dict(self) -> dict[str, Any]:
        return {"policy": self.policy.state_dict(), "adam": self.adam.state_dict(), "baseline": self.baseline}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.adam.load_state_dict(state["adam"])
        self.baseline = state["baseline"]


class Uniform:
    """Random search with weight sharing (Li & Talwalkar 2019, arXiv:1902.07638): the baseline, which does not learn."""

    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        self.sizes, self.device = list(sizes), device

    def sample(self, count: int) -> SampledChildren:
        places = torch.stack([torch.randint(size, (count,), device=self.device) for size in self.sizes], 1)
        zeros = torch.zeros(count, device=self.device)
        return SampledChildren(places, zeros, zeros)

    def learn(self, sampled: SampledChildren, accuracies: Float[Tensor, " n"]) -> None: ...
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
