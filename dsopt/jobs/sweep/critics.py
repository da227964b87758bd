"""Whether what a Wasserstein critic estimates follows how good the images are: its distance beside theirs, over training."""

import statistics
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import torch

from dsopt.jobs.sweep.kinds.contract import Planned
from dsopt.learners.adversarial import WeightedTerm, named_terms
from dsopt.pipeline import adversaries
from dsopt.reporting import page as pages
from dsopt.reporting.losses import Critic, critic_estimates
from dsopt.reporting.page import Section
from dsopt.search.rank_quality import spearman
from dsopt.storage import Table

STEPS = "generate.steps"
LAST = 0.05  # of the steps: one batch's estimate is noise
FEWEST = 3  # points that have a rank correlation: two have none but 1 and -1

Lines = dict[str, list[Critic]]  # what differs between rows other than the steps -> its trainings


def sections(done: Iterable[Planned], reached: Iterable[float], measure: str) -> list[Section]:
    """A figure, the correlations and the numbers of all Wasserstein critics trained for several lengths; nothing without any.

    Args:
        done: finished trials of a sweep of generators.
        reached: what `measure` says of each of them.
    """
    lines = {name: critics for name, critics in _lines(done, reached).items() if len({critic.steps for critic in critics}) > 1}
    if not lines:
        return []
    rhos = {name: correlation(critics) for name, critics in lines.items()}
    told = "; ".join(f"{name} {_shown(rho)} of {_points(lines[name])}" for name, rho in rhos.items())
    text = (
        "Does a critic's loss follow the images? Spearman's rank correlation of the distance that the critic estimates (its mean "
        f"score of real images less that of generated ones, over the last {LAST:.0%} of its steps) with the {measure}, a seed: "
        f"{told}. 1 is always, 0 not at all, below 0 the reverse; by chance alone 3 points have 1 or -1 every third time, 4 every "
        "twelfth."
        "\n\nThe distance is the largest over all critics with bounded gradients: one that has not learned enough yet says less."
    )
    panels = {f"{name}: ρ {_shown(rhos[name])}": critics for name, critics in lines.items()}
    head = ["row", "steps", "n", "critic's distance", measure]
    png = critic_estimates(panels, measure)
    return [Section("The critic's distance beside the images'", text, png=png, html=pages.table(head, _cells(lines)))]


def correlation(critics: Sequence[Critic]) -> float | None:
    """Spearman's, of what critics say with what is measured: the mean over seeds, each alone; None if all are too few for one.

    Other seeds make other images, which may differ by more than those of other steps.
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
    """The distance that a critic estimated at the end of its training: its loss's negative, without the terms in it (WGAN, Arjovsky
    et al. 2017, arXiv:1701.07875, eq. 2-3, on the batches it learned from)."""
    trained = metrics.filter(pc.field("split") == "train")
    end = (
        trained.filter(pc.field("step") > (1 - LAST) * trained["step"].to_numpy().max())
        .group_by("name")
        .aggregate([("value", "mean")])
    )
    values = dict(zip(end["name"].to_pylist(), end["value_mean"].to_pylist(), strict=True))
    added = sum(term.weight * values[name] for name, term in named_terms("discriminator", terms))
    return added - values["loss"]


def _lines(done: Iterable[Planned], reached: Iterable[float]) -> Lines:
    found: Lines = {}
    for trial, measured in zip(done, reached, strict=True):
        settings = trial.config.generate
        if settings.learner != "adversarial" or settings.loss.name != "wasserstein":
            continue
        others = [text for text in trial.trial.overrides if not text.startswith(f"{STEPS}=")]
        name = " ".join(filter(None, [trial.trial.row, *others])) or "the grid"
        said = estimate(Table(trial.trained.uri).read(), adversaries.terms("generate", settings))
        found.setdefault(name, []).append(Critic(trial.trial.seed, settings.steps, said, measured))
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
    """Seeds x lengths of training; of the seed that has most."""
    seeds = _by_seed(critics)
    return f"{len(seeds)} x {max(map(len, seeds))}"


def _shown(rho: float | None) -> str:
    return "–" if rho is None else f"{rho:.2f}"
