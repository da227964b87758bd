"""Random truncated back-propagation through a long training."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.augment import draws
from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Stored, Synthetic, distiller
from dsopt.distillation.functional import flat, loss, loss_in_parts
from dsopt.distillation.inner import Inner, adam, sgd
from dsopt.distillation.recipe import Recipe, augmented
from dsopt.distillation.stored import begin
from dsopt.distillation.synthetic import Clipping, Init, descend
from dsopt.distillation.unroll import State, Step, Unrolled, advance, differentiate
from dsopt.errors import InputError
from dsopt.learners.placement import average_gradients
from dsopt.seeds import derive


class Window(NamedTuple):
    """Through which steps of the inner training gradients go back: `size` of them from `begin` on."""

    begin: int
    size: int


def anywhere(length: int, size: int, seed: int) -> Window:
    """One of `size` at a random place of `length` steps."""
    return Window(derive(seed, "window") % (length - size + 1), size)


def adapted(norms: Float[Tensor, " length"], size: int, spread: int, third: int, seed: int) -> Window:
    """A window by the lengths of the gradients in an inner training (AT-BPTT; its authors' code).

    In the first third of the outer steps it begins where gradients are long (drawn by their softmax) and is the larger, up to
    `size` + `spread`, the more they change there; in the second it is that large and anywhere; in the last it is `size` - `spread`
    and ends as far before the last step as a long gradient lies after the first. The authors go on to the next part when accuracy
    no longer rises.
    """
    length = len(norms)
    if third == 1:
        return anywhere(length, size + spread, seed)
    point = torch.rand((), generator=torch.Generator().manual_seed(derive(seed, "window")))
    start = min(length - 1, int(torch.searchsorted(norms.softmax(0).cumsum(0), point)))
    if third == 0:
        changes = torch.cat([norms.new_zeros(1), norms.diff().abs()])
        size = int(size - spread + 2 * spread * int((changes < changes[start]).sum()) / length)
        return Window(min(start, length - size), size)
    size -= spread
    return Window(max(0, length - start - size), size)


class TruncatedBackpropagation:
    """Images, and perhaps labels, learned through a window of the steps of an inner training.

    `place` gives it: (the lengths of the gradients in a whole inner training, which of the outer steps it is, a seed) -> window.
    """

    def __init__(
        self,
        problem: Problem,
        stored: Stored,
        inner: Inner,
        recipe: Recipe,
        place: Callable[[Callable[[], Tensor], int, int], Window],
        soft_labels: bool,
        every: int,
        learning_rate: float,
    ) -> None:
        self.problem, self.device, self.inner, self.place, self.every = problem, problem.device, inner, place, every
        self.stored, self.labels, self.trained_by = stored, stored.labels, recipe
        self.learned: dict[str, Tensor] = {}  # beside the images
        if soft_labels:
            self.learned["soft"] = F.one_hot(stored.labels, problem.classes).float().requires_grad_()
        self.taken = 0
        self.clipping = Clipping(2.0, problem.device)
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "images": torch.optim.Adam([stored.leaf, *self.learned.values()], learning_rate)
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        # All workers draw by the same seed: the window's place decides how long a step takes.
        network = self.problem.network()
        window = self.place(lambda: self.lengths(network, batch), self.taken, batch.seed)
        found, gradients = self.gradients(network, batch, window)
        self.taken += 1
        means = average_gradients(gradients, self.problem.world)
        (images,) = self.clipping(means[:1])
        descend(self.optimizers["images"], [self.stored.pull(images), *means[1:]], 1)
        self.stored.settled()
        if "soft" in self.learned:
            self.learned["soft"].data.clamp_min_(0)  # as the authors do
        return {"loss": found}

    def gradients(self, network: nn.Sequential, batch: Batch, window: Window) -> Unrolled:
        """The loss of real images after the last step of a window, and its gradients through the window."""
        inputs = [self.stored.images(), *self.learned.values()]
        step, end = self._step(network, batch, lambda gradient: None), window.begin + window.size

        def outer(state: State) -> Iterator[Tensor]:
            return loss_in_parts(network, state[0], batch.images, batch.labels)

        state = advance(step, self._start(network), inputs, 0, window.begin)
        return differentiate(step, state, inputs, window.begin, end, outer, every=self.every)

    def lengths(self, network: nn.Sequential, batch: Batch) -> Float[Tensor, " length"]:
        """Those of the gradients of all weights at every step of an inner training."""
        found: list[Tensor] = []
        step = self._step(network, batch, lambda gradient: found.append(gradient.norm()))
        advance(step, self._start(network), [self.stored.images(), *self.learned.values()], 0, self.trained_by.steps)
        return torch.stack(found).detach().cpu()

    def _start(self, network: nn.Sequential) -> State:
        return self.inner.start([flat(network.parameters())])

    def _step(self, network: nn.Sequential, batch: Batch, tell: Callable[[Tensor], None]) -> Step:
        """A step of the inner training, which tells its gradient."""

        def step(state: State, given: Any, t: int, differentiable: bool) -> State:
            images, *soft = given
            draw = draws(derive(batch.seed, "inner", t), len(images), 0, len(images), images.device)
            x, w = augmented(images, self.problem.augment, draw), state[0].requires_grad_()
            value = loss(network, w, x, soft[0] if soft else self.labels)
            (gradient,) = torch.autograd.grad(value, w, create_graph=differentiable)
            tell(gradient)
            return self.inner.update([w, *state[1:]], [gradient], t)

        return step

    def synthetic(self) -> Synthetic:
        soft = self.learned["soft"].detach() if "soft" in self.learned else None
        return Synthetic(self.stored.images().detach(), self.labels, soft)

    def recipe(self) -> Recipe:
        return self.trained_by

    def weights(self) -> dict[str, Tensor]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        learned = {name: value.detach() for name, value in self.learned.items()}
        return {
            "stored": self.stored.leaf.detach(),
            "learned": learned,
            "norms": self.clipping.norms,
            "taken": self.taken,
            "optimizer": self.optimizers["images"].state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stored.leaf.data.copy_(state["stored"])
        for name, value in self.learned.items():
            value.data.copy_(state["learned"][name])
        self.clipping.norms, self.taken = state["norms"].to(self.device), state["taken"]
        self.optimizers["images"].load_state_dict(state["optimizer"])


@distiller(unrolls=True)
def bptt(
    problem: Problem,
    *,
    length: int = 60,
    window: int = 20,
    adaptive: bool = False,
    spread: int = 5,
    inner: Literal["adam", "sgd"] = "adam",
    inner_rate: float = 0.001,
    soft_labels: bool = False,
    every: int = 1,
    init: Init = "noise",
    learning_rate: float = 0.001,
) -> TruncatedBackpropagation:
    """Learn images through a window at a random place of a long training by Adam (RaT-BPTT, Feng et al. 2024, arXiv:2311.07025).

    Every step starts from a fresh network, trains it `length` steps at most on all images at once, and differentiates through the
    last `window` of these; the images' gradient is held to twice its moving average (see `Clipping`; in the authors' code a long
    gradient raises the average first). Their CIFAR-10 setting is length 200, window 60, on whitened images
    (`distill.normalise.name=zca`); the defaults are for small machines. Unlike in their code, a window is drawn anew at every step,
    and images do not start with unit norm. Memory: weights and Adam's moments for each step of the window, and one step's graph.
    `every` above 1 keeps only those of one step of so many, and takes the steps between once more (10 to 40 % more time): with the
    square root of the window it is twice that root of them.

    `adaptive`: windows by how long gradients are, of `window` -+ `spread` steps (AT-BPTT, see `adapted`); it takes an inner
    training more for two of three outer steps.

    Raises:
        InputError: the window does not fit, or `every` is below 1.
    """
    if every < 1:
        raise InputError(f"distill bptt: options.every={every} must be at least 1.")
    if not 1 <= window <= length:
        raise InputError(f"distill bptt: options.window={window} must be from 1 to options.length={length}.")
    if adaptive and not 0 <= spread < min(window, length - window + 1):
        most = min(window - 1, length - window)
        raise InputError(f"distill bptt: options.spread={spread}: from 0 to {most} with this window and length.")

    def place(lengths: Callable[[], Tensor], taken: int, seed: int) -> Window:
        if not adaptive:
            return anywhere(length, window, seed)
        third = min(2, 3 * taken // problem.steps)
        return adapted(lengths() if third != 1 else torch.zeros(length), window, spread, third, seed)

    recipe = Recipe(inner, inner_rate, steps=length, augment=list(problem.augment))
    moves = adam(inner_rate) if inner == "adam" else sgd(inner_rate)
    return TruncatedBackpropagation(problem, begin(problem, init), moves, recipe, place, soft_labels, every, learning_rate)
