"""Images whose weighted gradients approximate the mean gradient of all images."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import cholesky, solve_triangular

from dsopt.errors import InputError
from dsopt.selection.contract import Selection, selector
from dsopt.selection.kernels.distances import ROWS
from dsopt.selection.streams.costs import Cost, Size

ROUNDS = 500  # the number of rounds: with larger budgets, several images are taken per round
TOLERANCE = 1e-7  # relative to the largest first correlation: smaller ones count as zero


def _cost(at: Size, ridge: float) -> Cost:
    rounds, square = min(at.budget, ROUNDS), at.budget**2
    return Cost(20 * at.rows * at.size * rounds, touched=50 * square, memory=24 * square + 80 * at.rows)


@selector(labels=True, scores=("probability",), cost=_cost)
def grad_match(
    embeddings: Float[Tensor, "n h"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n c"],
    *,
    ridge: float = 0.5,
) -> Selection:
    """Take images whose weighted gradients match the mean gradient (GradMatch, Killamsetty et al. 2021, arXiv:2103.00123).

    Orthogonal matching pursuit (algorithm 2) on the gradients of the proxy's last layer, whose inputs are the embeddings and whose
    probabilities are `scores`. Each round takes the image whose gradient is most similar to the residual, then refits the weights
    of all images taken by least squares with `ridge`. Weights are never negative, as in CORDS; an image whose weight would become
    negative is dropped (Lawson & Hanson 1974, chapter 23). For budgets above `ROUNDS`, a round takes several images.

    Once no gradient reduces the residual, the budget is filled with the images most similar to it, with weight 0. The score is the
    weight.

    Raises:
        InputError: a label has no probability, or `ridge` is not positive and finite.
    """
    low, high = int(labels.min()), int(labels.max())
    if not 0 <= low <= high < scores.shape[1]:
        raise InputError(f"grad_match: labels from {low} to {high}, but {scores.shape[1]} probabilities.")
    if not 0 < ridge < math.inf:
        raise InputError(f"grad_match: ridge={ridge}: expected a number above 0.")
    gradients = _Gradients.of(embeddings, labels, scores)
    mean = gradients.errors.T.double() @ gradients.inputs.double() / len(labels)
    fit = _Fit(labels.new_empty(0), mean.new_empty(0), mean.new_empty(0, 0))
    correlation = gradients.along(mean)
    goal, per_round, least = correlation, math.ceil(budget / ROUNDS), TOLERANCE * correlation.max()
    # Every round reduces the residual, so the loop ends; rounding errors could prevent that. SciPy's nnls has the same limit.
    for _ in range(3 * budget):
        order = correlation.float().argsort(descending=True, stable=True)  # rounded to float32, so that ties are broken by row
        new = order[: min(per_round, budget - len(fit.rows))]
        before, fit = fit, fit.add(gradients, goal, new[correlation[new] > least], ridge)
        if torch.equal(fit.rows, before.rows):
            break
        correlation = gradients.along(mean - gradients.sum(fit.rows, fit.weights))
        correlation[fit.rows] = -torch.inf
    rest = correlation.float().argsort(descending=True, stable=True)[: budget - len(fit.rows)]
    return Selection(
        torch.cat([fit.rows, rest]),
        torch.cat([fit.weights.float(), torch.zeros(len(rest))]),
        ["gradient like what is missing"] * len(fit.rows) + ["fills the budget"] * len(rest),
    )


class _Gradients(NamedTuple):
    """The last layer's gradients: each is the outer product of a row's errors and its inputs, and kept in these factors."""

    errors: Float[Tensor, "n c"]
    inputs: Float[Tensor, "n h1"]  # with a column of ones, for the bias

    @classmethod
    def of(cls, embeddings: Float[Tensor, "n h"], labels: Int[Tensor, " n"], scores: Float[Tensor, "n c"]) -> "_Gradients":
        errors = scores.clone()
        errors[torch.arange(len(labels)), labels] -= 1
        return cls(errors, torch.cat([embeddings, torch.ones(len(labels), 1)], 1))

    def along(self, direction: Float[Tensor, "c h1"]) -> Float[Tensor, " n"]:
        """The inner product of every gradient with a direction."""
        blocks = zip(self.errors.split(ROWS), self.inputs.split(ROWS), strict=True)
        return torch.cat([((inputs.double() @ direction.T) * errors).sum(1) for errors, inputs in blocks])

    def sum(self, rows: Int[Tensor, " k"], weights: Float[Tensor, " k"]) -> Float[Tensor, "c h1"]:
        return (self.errors[rows] * weights[:, None]).T @ self.inputs[rows].double()

    def products(self, some: Int[Tensor, " a"], others: Int[Tensor, " b"]) -> Float[Tensor, "a b"]:
        errors = self.errors[some].double() @ self.errors[others].double().T
        return errors * (self.inputs[some].double() @ self.inputs[others].double().T)


class _Fit(NamedTuple):
    """The rows taken, their weights, and the Cholesky factor of the Gram matrix of their gradients plus the ridge."""

    rows: Int[Tensor, " k"]
    weights: Float[Tensor, " k"]
    factor: Float[Tensor, "k k"]

    def add(self, gradients: _Gradients, goal: Float[Tensor, " n"], new: Int[Tensor, " b"], ridge: float) -> "_Fit":
        """Add rows and refit the weights by non-negative least squares; `goal` has every gradient's product with the target."""
        # Extend the Cholesky factor by the new rows, instead of factoring the whole matrix again.
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
            # Move towards the least-squares solution until the first weight becomes zero, and drop that row.
            steps = torch.where(negative, weights / (weights - best).clamp(min=1e-300), torch.inf)
            weights, kept = weights + steps.min() * (best - weights), steps > steps.min()
            rows, weights = rows[kept], weights[kept]
            factor = cholesky(gradients.products(rows, rows) + ridge * torch.eye(len(rows)))
