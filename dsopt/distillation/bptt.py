"""Truncated backpropagation through a long training (RaT-BPTT, AT-BPTT)."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dsopt.augment import draws
from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem, Stored, Synthetic, distiller
from dsopt.distillation.functional import flat, loss, loss_in_parts
from dsopt.distillation.inner import InnerOptimizer, adam, sgd
from dsopt.distillation.recipe import Recipe, augmented
from dsopt.distillation.stored import create_stored
from dsopt.distillation.synthetic import Clipping, Init, descend
from dsopt.distillation.unroll import EAGER, Inner, Numbers, State, Unrolled, Way, advance, differentiate, fastest
from dsopt.errors import InputError
from dsopt.learners.placement import average_gradients
from dsopt.seeds import derive


class Window(NamedTuple):
    """The steps of the inner training through which gradients are propagated: `size` of them, from `start` on."""

    start: int
    size: int


def random_window(length: int, size: int, seed: int) -> Window:
    """A window of `size` steps at a random position within `length` steps."""
    return Window(derive(seed, "window") % (length - size + 1), size)


def adaptive_window(norms: Float[Tensor, " length"], size: int, spread: int, third: int, seed: int) -> Window:
    """A window that depends on the gradient norms of an inner training (AT-BPTT; after its authors' code).

    `third` is the part of the outer training, 0 to 2:

    - 0: it starts at a step with a large gradient, drawn from the softmax of the norms; the more the norm changes there, the larger
      it is, from `size` - `spread` to `size` + `spread`.
    - 1: it has `size` + `spread` steps at a random position.
    - 2: it has `size` - `spread` steps, and ends as many steps before the last as a large gradient is after the first.

    The authors switch to the next part when accuracy no longer rises.
    """
    length = len(norms)
    if third == 1:
        return random_window(length, size + spread, seed)

    point = torch.rand((), generator=torch.Generator().manual_seed(derive(seed, "window")))
    start = min(length - 1, int(torch.searchsorted(norms.softmax(0).cumsum(0), point)))
    if third == 0:
        changes = torch.cat([norms.new_zeros(1), norms.diff().abs()])
        rank = int((changes < changes[start]).sum())
        size = int(size - spread + 2 * spread * rank / length)
        return Window(min(start, length - size), size)
    size -= spread
    return Window(max(0, length - start - size), size)


class TruncatedBackpropagation:
    """Images, and optionally labels, learned through a window of the steps of an inner training.

    Args:
        choose_window: (computes the gradient norms of a whole inner training, number of the outer step, seed) -> window.
        every: see `dsopt.distillation.unroll.differentiate`.
    """

    def __init__(
        self,
        problem: Problem,
        stored: Stored,
        inner: InnerOptimizer,
        recipe: Recipe,
        choose_window: Callable[[Callable[[], Tensor], int, int], Window],
        soft_labels: bool,
        every: int,
        learning_rate: float,
    ) -> None:
        self.problem, self.device, self.inner, self.every = problem, problem.device, inner, every
        self.choose_window = choose_window
        self.stored, self.labels, self.trained_by = stored, stored.labels, recipe
        self.learned: dict[str, Tensor] = {}  # besides the images
        if soft_labels:
            self.learned["soft"] = F.one_hot(stored.labels, problem.classes).float().requires_grad_()
        self.taken = 0  # outer steps
        self.clipping = Clipping(2.0, problem.device)  # the authors' factor
        self.passes = fastest(self.gradients, problem.compile, problem.device, problem.world)
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "images": torch.optim.Adam([stored.leaf, *self.learned.values()], learning_rate)
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        network = self.problem.drawn_for(batch)
        # The same window on all workers, as its position determines how long a step takes.
        window = self.choose_window(lambda: self.gradient_norms(network, batch), self.taken, batch.seed)
        loss, gradients = self.passes(network, batch, window)
        self.taken += 1

        means = average_gradients(gradients, self.problem.world)
        (of_images,) = self.clipping(means[:1])
        descend(self.optimizers["images"], [self.stored.leaf_gradient(of_images), *means[1:]], 1)  # 1: they are averaged already
        self.stored.project_leaf()
        if "soft" in self.learned:
            self.learned["soft"].data.clamp_min_(0)  # as the authors do
        return {"loss": loss}

    def gradients(self, network: nn.Sequential, batch: Batch, window: Window, way: Way = EAGER) -> Unrolled:
        """The loss on real images after the last step of a window, and its gradients through the window."""
        inputs = [self.stored.images(), *self.learned.values()]
        inner, end = self._inner(network, batch, lambda gradient: None), window.start + window.size
        state = advance(inner, self._start(network), inputs, 0, window.start, way)
        outer = loss_in_parts(network, batch.images, batch.labels)
        return differentiate(inner, state, inputs, window.start, end, outer, every=self.every, way=way)

    def gradient_norms(self, network: nn.Sequential, batch: Batch) -> Float[Tensor, " length"]:
        """The norm of the gradient of all weights at every step of an inner training."""
        norms: list[Tensor] = []
        inner = self._inner(network, batch, lambda gradient: norms.append(gradient.norm()))
        advance(inner, self._start(network), [self.stored.images(), *self.learned.values()], 0, self.trained_by.steps)
        return torch.stack(norms).detach().cpu()

    def _start(self, network: nn.Sequential) -> State:
        return self.inner.start([flat(network.parameters())])

    def _inner(self, network: nn.Sequential, batch: Batch, record: Callable[[Tensor], None]) -> Inner:
        """A step of the inner training; `record` is called with its gradient."""

        def given(inputs: Any, t: int) -> list[Tensor]:
            images, *soft = inputs
            draw = draws(derive(batch.seed, "inner", t), len(images), 0, len(images), images.device)
            return [augmented(images, self.problem.augment, draw), soft[0] if soft else self.labels]

        def step(state: State, given: Any, numbers: Numbers, differentiable: bool) -> State:
            (images, targets), w = given, state[0].requires_grad_()
            (gradient,) = torch.autograd.grad(loss(network, w, images, targets), w, create_graph=differentiable)
            record(gradient)
            return self.inner.update([w, *state[1:]], [gradient], numbers)

        return Inner(given, step, self.inner.numbers)

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


@distiller(unrolls=True, compiles=True)
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

    Every step starts from a new network, trains it for at most `length` steps on all images at once, and differentiates through the
    last `window` of these. The norm of the images' gradient is clipped to twice its moving average (see `Clipping`; in the authors'
    code a large gradient raises the average before it is clipped). Their CIFAR-10 setting is length 200 and window 60 on whitened
    images (`distill.normalise.name=zca`); the defaults are for small machines. Unlike in their code, a window is drawn anew at
    every step, and images do not start with unit norm.

    Memory: weights and Adam's moments for each step of the window, and the graph of one step. With `every` above 1 only one step in
    so many is kept, and those between are recomputed, which takes 10 to 40 % more time. The square root of the window is the best
    value: twice that root of steps are in memory.

    Args:
        adaptive: windows of `window` - `spread` to `window` + `spread` steps that depend on gradient norms (AT-BPTT, see
            `adaptive_window`). Two of three outer steps need an additional inner training for it.

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

    def choose_window(gradient_norms: Callable[[], Tensor], taken: int, seed: int) -> Window:
        if not adaptive:
            return random_window(length, window, seed)
        third = min(2, 3 * taken // problem.steps)
        norms = gradient_norms() if third != 1 else torch.zeros(length)
        return adaptive_window(norms, window, spread, third, seed)

    recipe = Recipe(inner, inner_rate, steps=length, augment=list(problem.augment))
    optimizer = adam(inner_rate) if inner == "adam" else sgd(inner_rate)
    stored = create_stored(problem, init)
    return TruncatedBackpropagation(problem, stored, optimizer, recipe, choose_window, soft_labels, every, learning_rate)
