"""Whether the distance that a Wasserstein critic estimates follows the measured quality of the images, over training."""

import statistics
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import torch

from dsopt.jobs.sweep.kinds.contract import PlannedTrial
from dsopt.learners.adversarial import WeightedTerm, named_terms
from dsopt.pipeline import adversaries
from dsopt.reporting import page as pages
from dsopt.reporting.losses import Critic, critic_estimates
from dsopt.reporting.page import Section
from dsopt.search.rank_quality import spearman
from dsopt.storage import Table

STEPS = "generate.steps"
LAST = 0.05  # of the steps, averaged: the estimate of one batch is noisy
FEWEST = 3  # points for a rank correlation: that of two can only be 1 or -1

Lines = dict[str, list[Critic]]  # the settings of a row other than the steps -> its trainings


def sections(done: Iterable[PlannedTrial], measured: Iterable[float], measure: str) -> list[Section]:
    """A figure, rank correlations and a table for Wasserstein critics of several training lengths; no section without any.

    Args:
        done: finished trials of a sweep of generators.
        measured: the value of `measure` for each of them.
    """
    lines = {name: critics for name, critics in _lines(done, measured).items() if len({critic.steps for critic in critics}) > 1}
    if not lines:
        return []
    rhos = {name: correlation(critics) for name, critics in lines.items()}
    correlations = "; ".join(f"{name} {_shown(rho)} of {_points(lines[name])}" for name, rho in rhos.items())
    text = (
        "Does a critic's loss follow the quality of the images? Spearman's rank correlation of the distance that the critic "
        "estimates (its mean score of real images minus that of generated ones, over the last "
        f"{LAST:.0%} of its steps) with the {measure}, per seed: {correlations}. 1 is perfect agreement, 0 none, below 0 the "
        "reverse. By chance alone, 3 points have 1 or -1 in one case of three, 4 points in one of twelve."
        "\n\nThe distance is a maximum over critics with bounded gradients, so an undertrained critic underestimates it."
    )
    panels = {f"{name}: ρ {_shown(rhos[name])}": critics for name, critics in lines.items()}
    head = ["row", "steps", "n", "critic's distance", measure]
    png = critic_estimates(panels, measure)
    return [Section("The critic's distance and the quality of the images", text, png=png, html=pages.table(head, _cells(lines)))]


def correlation(critics: Sequence[Critic]) -> float | None:
    """Spearman's correlation of the critics' estimates with the measure: the mean over seeds; None if every seed has too few.

    Each seed is ranked alone, because images of different seeds may differ more than those of different steps.
    """
    found = []
    for own in _by_seed(critics):
        if len(own) >= FEWEST:
            estimates, measured = (torch.tensor(values, dtype=torch.float64) for values in list(zip(*own, strict=True))[2:])
            found.append(spearman(estimates, measured))
    return statistics.fmean(found) if found else None


def _by_seed(critics: Sequence[Critic]) -> list[list[Critic]]:
    return [[critic for critic in critics if critic.seed == seed] for seed in sorted({critic.seed for critic in critics})]


def estimate(metrics: pa.Table, terms: Sequence[WeightedTerm]) -> float:
    """The distance that a critic estimated at the end of its training: its negated loss without the added terms (WGAN, Arjovsky et
    al. 2017, arXiv:1701.07875, eq. 2-3, on training batches)."""
    trained = metrics.filter(pc.field("split") == "train")
    end = (
        trained.filter(pc.field("step") > (1 - LAST) * trained["step"].to_numpy().max())
        .group_by("name")
        .aggregate([("value", "mean")])
    )
    values = dict(zip(end["name"].to_pylist(), end["value_mean"].to_pylist(), strict=True))
    added = sum(term.weight * values[name] for name, term in named_terms("discriminator", terms))
    return added - values["loss"]


def _lines(done: Iterable[PlannedTrial], values: Iterable[float]) -> Lines:
    found: Lines = {}
    for trial, measured in zip(done, values, strict=True):
        settings = trial.config.generate
        if settings.learner != "adversarial" or settings.loss.name != "wasserstein":
            continue
        others = [text for text in trial.trial.overrides if not text.startswith(f"{STEPS}=")]
        name = " ".join(filter(None, [trial.trial.row, *others])) or "the grid"
        trained = Table(trial.trained.uri)
        estimated, steps = estimate(trained.read(), adversaries.terms("generate", settings)), trained.manifest["steps"]
        found.setdefault(name, []).append(Critic(trial.trial.seed, steps, estimated, measured))
    return found


def _cells(lines: Lines) -> list[list[str]]:
    groups: dict[tuple[str, int], list[Critic]] = {}
    for name, critics in lines.items():
        for critic in sorted(critics, key=lambda critic: critic.steps):
            groups.setdefault((name, critic.steps), []).append(critic)
    means = {at: [statistics.fmean(values) for values in list(zip(*group, strict=True))[2:]] for at, group in groups.items()}
    return [
        [name, f"{steps:,}", str(len(group)), *(f"{mean:.4g}" for mean in means[name, steps])]
        for (name, steps), group in groups.items()
    ]


def _points(critics: Sequence[Critic]) -> str:
    """Seeds x training lengths, those of the seed with most of them."""
    seeds = _by_seed(critics)
    return f"{len(seeds)} x {max(map(len, seeds))}"


def _shown(rho: float | None) -> str:
    return "–" if rho is None else f"{rho:.2f}"
