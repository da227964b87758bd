"""Images, with weights, whose gradients add up to that of all images."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import cholesky, solve_triangular

from dsopt.errors import InputError
from dsopt.selection.contract import Selection, selector
from dsopt.selection.distances import ROWS

ROUNDS = 500  # budgets up to this are chosen one by one
NOUGHT = 1e-7  # of the first correlation: less is none


@selector(labels=True, scores=("probability",))
def grad_match(
    embeddings: Float[Tensor, "n h"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n c"],
    *,
    ridge: float = 0.5,
) -> Selection:
    """Take images whose weighted gradients best add up to the mean gradient (GradMatch, Killamsetty et al. 2021, arXiv:2103.00123).

    Orthogonal matching pursuit (algorithm 2) on the gradients of the proxy's last layer, whose inputs are the embeddings and whose
    probabilities are `scores`: the image whose gradient is most like what is missing, then the best weights for all taken, by least
    squares with `ridge`, and so on. Weights are never negative, as in CORDS; an image whose weight would be is dropped (Lawson &
    Hanson 1974, chapter 23). Of budgets above `ROUNDS`, several are taken at a time. Once no gradient can help any more, the images
    whose gradients are most like what is missing fill up the budget, with weight 0. The score is the weight.

    Raises:
        InputError: a label without a probability, or no ridge.
    """
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < scores.shape[1]:
        raise InputError(f"grad_match: labels from {low} to {high}, but {scores.shape[1]} probabilities.")
    if not 0 < ridge < math.inf:
        raise InputError(f"grad_match: ridge={ridge}; it is above 0.")
    gradients = _Gradients.of(embeddings, labels, scores)
    mean = gradients.errors.T.double() @ gradients.inputs.double() / len(labels)
    fit = _Fit(labels.new_empty(0), mean.new_empty(0), mean.new_empty(0, 0))
    likeness = gradients.along(mean)
    goal, together, least = likeness, math.ceil(budget / ROUNDS), NOUGHT * likeness.max()
    for _ in range(3 * budget):  # each brings the sum nearer to the goal; but as rounding may not, as often as SciPy's nnls tries
        order = likeness.float().argsort(descending=True, stable=True)  # rounded, so that ties are broken by row
        new = order[: min(together, budget - len(fit.rows))]
        before, fit = fit, fit.add(gradients, goal, new[likeness[new] > least], ridge)
        if torch.equal(fit.rows, before.rows):
            break
        likeness = gradients.along(mean - gradients.sum(fit.rows, fit.weights))
        likeness[fit.rows] = -torch.inf
    rest = likeness.float().argsort(descending=True, stable=True)[: budget - len(fit.rows)]
    return Selection(
        torch.cat([fit.rows, rest]),
        torch.cat([fit.weights.float(), torch.zeros(len(rest))]),
        ["gradient like what is missing"] * len(fit.rows) + ["fills the budget"] * len(rest),
    )


class _Gradients(NamedTuple):
    """The last layer's gradients, each the outer product of a row's errors and its inputs: never multiplied out."""

    errors: Float[Tensor, "n c"]
    inputs: Float[Tensor, "n h1"]  # with a 1, for the bias

    @classmethod
    def of(cls, embeddings: Float[Tensor, "n h"], labels: Int[Tensor, " n"], scores: Float[Tensor, "n c"]) -> "_Gradients":
        errors = scores.clone()
        errors[torch.arange(len(labels)), labels] -= 1
        return cls(errors, torch.cat([embeddings, torch.ones(len(labels), 1)], 1))

    def along(self, direction: Float[Tensor, "c h1"]) -> Float[Tensor, " n"]:
        """The product of every gradient with a direction."""
        blocks = zip(self.errors.split(ROWS), self.inputs.split(ROWS), strict=True)
        return torch.cat([((inputs.double() @ direction.T) * errors).sum(1) for errors, inputs in blocks])

    def sum(self, rows: Int[Tensor, " k"], weights: Float[Tensor, " k"]) -> Float[Tensor, "c h1"]:
        return (self.errors[rows] * weights[:, None]).T @ self.inputs[rows].double()

    def products(self, some: Int[Tensor, " a"], others: Int[Tensor, " b"]) -> Float[Tensor, "a b"]:
        errors = self.errors[some].double() @ self.errors[others].double().T
        return errors * (self.inputs[some].double() @ self.inputs[others].double().T)


class _Fit(NamedTuple):
    """The rows taken, their weights, and the Cholesky factor of the products of their gradients plus the ridge."""

    rows: Int[Tensor, " k"]
    weights: Float[Tensor, " k"]
    factor: Float[Tensor, "k k"]

    def add(self, gradients: _Gradients, goal: Float[Tensor, " n"], new: Int[Tensor, " b"], ridge: float) -> "_Fit":
        """The best weights of these and new rows for the products of all gradients with the goal; none is negative."""
        below = solve_triangular(self.factor, gradients.products(self.rows, new), upper=False).T
        corner = cholesky(gradients.products(new, new) + ridge * torch.eye(len(new)) - below @ below.T)
        above = torch.cat([self.factor, below.new_zeros(len(self.rows), len(new))], 1)
        factor = torch.cat([above, torch.cat([below, corner], 1)])
        rows, weights = torch.cat([self.rows, new]), torch.cat([self.weights, below.new_zeros(len(new))])
        while True:
            best = torch.cholesky_solve(goal[rows, None], factor).squeeze(1)
            negative = best <= 0
            if not negative.any():
                return _Fit(rows, best, factor)
            # Go towards the best as far as no weight turns negative, and drop the first that would.
            steps = torch.where(negative, weights / (weights - best).clamp(min=1e-300), torch.inf)
            weights, kept = weights + steps.min() * (best - weights), steps > steps.min()
            rows, weights = rows[kept], weights[kept]
            factor = cholesky(gradients.products(rows, rows) + ridge * torch.eye(len(rows)))
