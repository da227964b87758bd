"""Training a generator against a discriminator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dsopt.augment import UniformDraw, draws
from dsopt.data.batches import Batch, moved
from dsopt.learners.average import Average
from dsopt.learners.optim import set_gradients, step
from dsopt.learners.placement import (
    Precision,
    autocast,
    average_gradients,
    compute_dtype,
    local_part,
    pack,
    rank,
    replica,
    unpack,
    whole,
)
from dsopt.losses.adversarial import AdversarialLoss, DiscriminatorOutput
from dsopt.losses.terms import Context, Term
from dsopt.seeds import derive

EAGER_STEPS, EAGER_EVERY = 25, 500  # in generator steps: as in the code of Arjovsky et al. 2017 (arXiv:1701.07875)


class WeightedTerm(NamedTuple):
    """A term as a configuration names it."""

    name: str
    weight: float
    side: Literal["discriminator", "generator", "both"]
    term: Term


def named_terms(side: str, terms: Sequence[WeightedTerm]) -> list[tuple[str, WeightedTerm]]:
    """The terms of a side, each with the name of its metric.

    That is the term's own name; with the side as a prefix if the other side has a term of that name too; and with a number as a
    suffix if this side has several.
    """
    own = [term for term in terms if term.side in (side, "both")]
    named = []
    for index, term in enumerate(own):
        only_here = all(other.side == side for other in terms if other.name == term.name)
        name = term.name if only_here else f"{side}_{term.name}"
        if sum(other.name == term.name for other in own) > 1:
            number = sum(other.name == term.name for other in own[: index + 1])
            name = f"{name}_{number}"
        named.append((name, term))
    return named


class AdversarialLearner:
    """A discriminator step on every batch, and a generator step after every few of them (Goodfellow et al. 2014, arXiv:1406.2661,
    algorithm 1). `average.averaged_network()` is the trained generator.

    The discriminator sees real and generated images in separate passes, so that batch normalization never mixes them.

    Args:
        generator: (noise, condition) -> images.
        discriminator: (images, condition) -> DiscriminatorOutput; None with the loss that has none.
        split: batch -> (target images, condition). The condition is whatever both networks take, or None.
        noise: (count, random generator) -> noise, or None for a generator that takes none.
        learning_rates: of the generator and of the discriminator.
        discriminator_steps: for one generator step.
        eager_steps: the same for the generator's first 25 steps and every 500th after (Arjovsky et al. 2017, arXiv:1701.07875).
        clip: the discriminator's weights are clipped to [-clip, clip] (same paper, algorithm 1).
        average: decay of the moving average of the generator's weights, with which images are generated.
        sync_batch_norm: see `dsopt.learners.placement.place`.
        augment: (images, draw) -> images, differentiable; applied to everything that the discriminator sees.
        classifiers: trained ones that terms use, by name: images on the generator's scale -> logits.
        classes: that labels may have, for terms which need labels.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module | None,
        loss: AdversarialLoss,
        terms: Sequence[WeightedTerm],
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
        sync_batch_norm: bool = False,
        augment: Callable[[Tensor, UniformDraw], Tensor] | None = None,
        classifiers: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        classes: int = 0,
        precision: Precision = "fp32",
        device: torch.device,
        world: int = 1,
    ) -> None:
        self.device, self.dtype, self.world = device, compute_dtype(precision, device), world
        self.loss, self.terms, self.split, self.noise, self.clip, self.augment = loss, terms, split, noise, clip, augment
        self.discriminator_steps, self.eager_steps = discriminator_steps, eager_steps
        self.classifiers, self.classes = classifiers or {}, classes
        # Not in DistributedDataParallel: a step runs the discriminator two or three times, and the wrapper would broadcast its
        # buffers before each, over the batch statistics of the passes before.
        self.generator = replica(generator, device, world, sync_batch_norm)
        self.average = Average(self.generator, average)
        self.networks: dict[str, nn.Module] = {"generator": self.generator, "average": self.average.network}
        self.optimizers = {"generator": _optimizer(optimizer, self.generator, learning_rates[0], betas)}
        self.discriminator = None if discriminator is None else replica(discriminator, device, world, sync_batch_norm)
        if self.discriminator is not None:
            self.networks["discriminator"] = self.discriminator
            self.optimizers["discriminator"] = _optimizer(optimizer, self.discriminator, learning_rates[1], betas)

        self.since = 0  # discriminator steps since the last generator step
        self.last: dict[str, Tensor] = {}  # metrics of the last generator step

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """A discriminator step on the batch and, when it is due, a generator step.

        Returns {"loss": the discriminator's, before its step; "generator_loss": that of the last generator step, and before the
        first step its current value; and the value of every term, without its weight}. Without a discriminator both losses are the
        generator's.
        """
        target, condition = self.split(batch)
        random = torch.Generator().manual_seed(derive(batch.seed, "adversarial"))

        metrics = self._discriminator_step(target, condition, random, batch.seed)
        self.since += 1
        due = self.discriminator is None or self.since >= self._discriminator_steps()
        if due or not self.last:
            self._generator_step(target, condition, random, batch.seed, due)
        return {"loss": self.last["generator_loss"], **self.last, **metrics}

    def _discriminator_steps(self) -> int:
        """How many there are before the next generator step."""
        generator_steps = self.average.step
        if self.eager_steps is not None and (generator_steps < EAGER_STEPS or generator_steps % EAGER_EVERY == 0):
            return self.eager_steps
        return self.discriminator_steps

    def _discriminator_step(self, target: Tensor, condition: Any, random: torch.Generator, seed: int) -> dict[str, Tensor]:
        if self.discriminator is None or self.loss.discriminator is None:
            return {}
        noise = self._noise(len(target), random)
        with torch.no_grad():
            fake = self._generate(noise, condition)
        target, fake = self._augmented(target, seed, "real"), self._augmented(fake, seed, "fake")
        on_real, on_fake = self._discriminate(target, condition), self._discriminate(fake, condition)
        u = self._uniform(len(target), random)

        own = self.classifiers, noise, derive(seed, "discriminator"), self.classes, self._whole
        context = Context(target, fake, condition, self._discriminate, on_real, on_fake, u, *own)
        values, total = self._add_terms("discriminator", self.loss.discriminator(on_real, on_fake), context)
        self._descend("discriminator", self.discriminator, total)

        if self.clip is not None:
            with torch.no_grad():
                for parameter in self.discriminator.parameters():
                    parameter.clamp_(-self.clip, self.clip)
        return {"loss": total.detach(), **values}

    def _generator_step(self, target: Tensor, condition: Any, random: torch.Generator, seed: int, due: bool) -> None:
        def discriminate(images: Tensor, condition: Any) -> DiscriminatorOutput:
            """With the same transforms for all images, so that terms can compare real with generated ones."""
            return self._discriminate(self._augmented(images, seed, "generator"), condition)

        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)  # saves the gradients of its weights

        noise = self._noise(len(target), random)
        fake = self._generate(noise, condition)
        output = None if self.discriminator is None else discriminate(fake, condition)
        u = self._uniform(len(target), random)
        loss = self.loss.generator(output) if self.loss.generator and output else fake.new_zeros(())

        own = self.classifiers, noise, derive(seed, "generator"), self.classes, self._whole
        context = Context(target, fake, condition, discriminate, None, output, u, *own)
        values, total = self._add_terms("generator", loss, context)
        told = {"generator_loss": total.detach(), **values}
        # Means over all workers here already: they are told at several steps, and saved by one of the workers.
        self.last = dict(zip(told, average_gradients(list(told.values()), self.world), strict=True))
        if due:
            self._descend("generator", self.generator, total)
            self.average.update()
            self.since = 0
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)

    def _add_terms(self, side: str, loss: Tensor, context: Context) -> tuple[dict[str, Tensor], Tensor]:
        """The values of a side's terms, by name, and the loss with these, weighted, added."""
        values = {}
        for name, term in named_terms(side, self.terms):
            value = term.term(context)
            loss = loss + term.weight * value
            values[name] = value.detach()
        return values, loss

    def _generate(self, noise: Tensor | None, condition: Any) -> Tensor:
        with autocast(self.dtype, self.device):
            return self.generator(noise, condition).float()

    def _noise(self, count: int, random: torch.Generator) -> Tensor | None:
        noise = self.noise(count * self.world, random)
        return None if noise is None else moved(local_part(noise, self.world), self.device)

    def _whole(self, part: Tensor) -> Tensor:
        return whole(part, self.world)

    def _uniform(self, count: int, random: torch.Generator) -> Tensor:
        return moved(local_part(torch.rand(count * self.world, generator=random), self.world), self.device)

    def _discriminate(self, images: Tensor, condition: Any) -> DiscriminatorOutput:
        assert self.discriminator is not None
        with autocast(self.dtype, self.device):
            output: DiscriminatorOutput = self.discriminator(images, condition)
        # Losses are computed in float32, whatever the networks compute in.
        return DiscriminatorOutput(*(None if part is None else part.float() for part in output))  # type: ignore[arg-type]

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
    def generate(self, noise: Tensor | None, condition: Any) -> Tensor:
        """Images generated with the averaged weights."""
        with autocast(self.dtype, self.device):
            return self.average.averaged_network()(noise, condition).float()

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
