"""Training a generator against a discriminator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dsopt.augment import Draw, draws
from dsopt.data.batches import Batch
from dsopt.learners.average import Average
from dsopt.learners.optim import set_gradients, step
from dsopt.learners.placement import (
    Precision,
    alike,
    autocast,
    average_gradients,
    compute_dtype,
    local_part,
    pack,
    place,
    rank,
    unpack,
)
from dsopt.losses.adversarial import Adversarial, Judgement
from dsopt.losses.terms import Context, Term
from dsopt.seeds import derive

EAGER_STEPS, EAGER_EVERY = 25, 500  # steps of the generator: as in the code of arXiv:1701.07875


class Weighted(NamedTuple):
    """A term as a configuration names it."""

    name: str
    weight: float
    side: Literal["discriminator", "generator", "both"]
    term: Term


def numbered(side: str, terms: Sequence[Weighted]) -> list[tuple[str, Weighted]]:
    """The terms of a side, each with what its value is called there.

    That is the term's name, after the side's where terms of that name stand on the other side too, and before a number where there
    are several on this one.
    """
    own, found = [term for term in terms if term.side in (side, "both")], []
    for index, term in enumerate(own):
        alone = all(other.side == side for other in terms if other.name == term.name)
        before, alike = (sum(other.name == term.name for other in some) for some in (own[: index + 1], own))
        name = term.name if alone else f"{side}_{term.name}"
        found.append((f"{name}_{before}" if alike > 1 else name, term))
    return found


class AdversarialLearner:
    """A step of the discriminator on every batch, and one of the generator after every few (Goodfellow et al. 2014,
    arXiv:1406.2661, algorithm 1). `average.finished()` is the trained generator.

    The discriminator sees real and made images apart, each batch normalised by itself.

    Args:
        generator: (noise, condition) -> images.
        discriminator: (images, condition) -> Judgement; None with a loss that has none.
        split: batch -> (target images, condition), the condition of whatever kind both networks take, or None.
        noise: (count, generator) -> noise; or None for a generator that takes none.
        learning_rates: of the generator and of the discriminator.
        discriminator_steps: for one step of the generator.
        eager_steps: the same for the generator's first 25 steps and every 500th after (Arjovsky et al. 2017, arXiv:1701.07875).
        clip: the discriminator's weights are kept within +-clip (ditto, algorithm 1).
        average: decay of the averaged weights that images are made with.
        augment: (images, draw) -> images, differentiable, done alike to all that the discriminator sees.
        classifiers: trained ones that terms look at, by name: images as the generator makes them -> logits.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module | None,
        loss: Adversarial,
        terms: Sequence[Weighted],
        *,
        split: Callable[[Batch], tuple[Tensor, Any]],
        noise: Callable[[int, torch.Generator], Tensor | None],
        optimizer: Literal["adam", "rmsprop"] = "adam",
        learning_rates: tuple[float, float] = (2e-4, 2e-4),
        betas: tuple[float, float] = (0.5, 0.999),
        discriminator_steps: int = 1,
        eager_steps: int | None = None,
        clip: float | None = None,
        average: float = 0.999,
        augment: Callable[[Tensor, Draw], Tensor] | None = None,
        classifiers: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        precision: Precision = "fp32",
        device: torch.device,
        world: int = 1,
    ) -> None:
        self.device, self.dtype, self.world = device, compute_dtype(precision, device), world
        self.loss, self.terms, self.split, self.noise, self.clip, self.augment = loss, terms, split, noise, clip, augment
        self.discriminator_steps, self.eager_steps = discriminator_steps, eager_steps
        self.classifiers = classifiers or {}
        # Not in DistributedDataParallel: a step judges two or three times, and the wrapper would overwrite the first's statistics.
        self.generator = alike(place(generator, device), world)
        self.average = Average(self.generator, average)
        self.networks: dict[str, nn.Module] = {"generator": self.generator, "average": self.average.network}
        made = {"generator": _optimizer(optimizer, self.generator, learning_rates[0], betas)}
        self.discriminator = None if discriminator is None else alike(place(discriminator, device), world)
        if self.discriminator is not None:
            self.networks["discriminator"] = self.discriminator
            made["discriminator"] = _optimizer(optimizer, self.discriminator, learning_rates[1], betas)
        self.optimizers: dict[str, torch.optim.Optimizer] = made
        self.since = 0  # steps of the discriminator since the generator's last
        self.last: dict[str, Tensor] = {}  # numbers of the generator's last step

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """A step of the discriminator on the batch and, where it is due, one of the generator.

        {"loss": the discriminator's before it, "generator_loss": of the generator's last step (before its first: as it would be),
        and one value a term, without its weight}. Without a discriminator both losses are the generator's.
        """
        target, condition = self.split(batch)
        random = torch.Generator().manual_seed(derive(batch.seed, "adversarial"))
        found = self._discriminator_step(target, condition, random, batch.seed)
        self.since += 1
        due = self.discriminator is None or self.since >= self._steps_wanted()
        if due or not self.last:
            self._generator_step(target, condition, random, batch.seed, due)
        return {"loss": self.last["generator_loss"], **self.last, **found}

    def _steps_wanted(self) -> int:
        made = self.average.step
        eager = self.eager_steps is not None and (made < EAGER_STEPS or made % EAGER_EVERY == 0)
        return self.eager_steps if eager and self.eager_steps is not None else self.discriminator_steps

    def _discriminator_step(self, target: Tensor, condition: Any, random: torch.Generator, seed: int) -> dict[str, Tensor]:
        if self.discriminator is None or self.loss.discriminator is None:
            return {}
        noise = self._noise(len(target), random)
        with torch.no_grad():
            fake = self._make(noise, condition)
        target, fake = self._augmented(target, seed, "real"), self._augmented(fake, seed, "fake")
        real_says, fake_says = self._judge(target, condition), self._judge(fake, condition)
        u = self._uniform(len(target), random)
        context = Context(target, fake, condition, self._judge, real_says, fake_says, u, self.classifiers, noise)
        loss = self.loss.discriminator(real_says, fake_says)
        numbers, total = self._with_terms("discriminator", loss, context)
        self._descend("discriminator", self.discriminator, total)
        if self.clip is not None:
            with torch.no_grad():
                for parameter in self.discriminator.parameters():
                    parameter.clamp_(-self.clip, self.clip)
        return {"loss": total.detach(), **numbers}

    def _generator_step(self, target: Tensor, condition: Any, random: torch.Generator, seed: int, due: bool) -> None:
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
        noise = self._noise(len(target), random)
        fake = self._make(noise, condition)
        judged = None
        if self.discriminator is not None:
            judged = self._judge(self._augmented(fake, seed, "generator"), condition)
        u = self._uniform(len(target), random)
        loss = self.loss.generator(judged) if self.loss.generator and judged else fake.new_zeros(())

        def judge(images: Tensor, condition: Any) -> Judgement:  # as the made ones are judged
            return self._judge(self._augmented(images, seed, "generator"), condition)

        context = Context(target, fake, condition, judge, None, judged, u, self.classifiers, noise)
        numbers, total = self._with_terms("generator", loss, context)
        self.last = {"generator_loss": total.detach(), **numbers}
        if due:
            self._descend("generator", self.generator, total)
            self.average.follow()
            self.since = 0
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)

    def _with_terms(self, side: str, loss: Tensor, context: Context) -> tuple[dict[str, Tensor], Tensor]:
        numbers = {}
        for name, term in numbered(side, self.terms):
            value = term.term(context)
            loss = loss + term.weight * value
            numbers[name] = value.detach()
        return numbers, loss

    def _make(self, noise: Tensor | None, condition: Any) -> Tensor:
        with autocast(self.dtype, self.device):
            return self.generator(noise, condition).float()

    def _noise(self, count: int, random: torch.Generator) -> Tensor | None:
        noise = self.noise(count * self.world, random)
        return None if noise is None else local_part(noise, self.world).to(self.device)

    def _uniform(self, count: int, random: torch.Generator) -> Tensor:
        return local_part(torch.rand(count * self.world, generator=random), self.world).to(self.device)

    def _judge(self, images: Tensor, condition: Any) -> Judgement:
        assert self.discriminator is not None
        with autocast(self.dtype, self.device):
            found: Judgement = self.discriminator(images, condition)
        return Judgement(*(None if part is None else part.float() for part in found))  # type: ignore[arg-type]

    def _augmented(self, images: Tensor, seed: int, which: str) -> Tensor:
        if self.augment is None:
            return images
        whole, start = len(images) * self.world, len(images) * rank(self.world)
        return self.augment(images, draws(derive(seed, which), whole, start, start + len(images), self.device))

    def _descend(self, name: str, network: nn.Module, loss: Tensor) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        if self.world > 1:
            trained = [p for p in network.parameters() if p.grad is not None]
            gradients = [p.grad for p in trained if p.grad is not None]
            set_gradients(trained, average_gradients(gradients, self.world))
        step(self.optimizers[name])

    @torch.no_grad()
    def make(self, noise: Tensor | None, condition: Any) -> Tensor:
        """Images by the averaged weights."""
        with autocast(self.dtype, self.device):
            return self.average.finished()(noise, condition).float()

    def state_dict(self) -> dict[str, Any]:
        return pack(self.networks, self.optimizers, step=self.average.step, since=self.since, last=self.last)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        unpack(state, self.networks, self.optimizers)
        self.average.step, self.since = state["step"], state["since"]
        self.last = {name: value.to(self.device) for name, value in state["last"].items()}


def _optimizer(name: str, network: nn.Module, rate: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    if name == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), rate)
    return torch.optim.Adam(network.parameters(), rate, betas=betas, fused=True)
