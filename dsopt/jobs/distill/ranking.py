"""The DD-Ranking scores of evaluated sets: the additional trainings that they need, and their tables."""

import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from dsopt.config import Choice
from dsopt.distillation.recipe import Recipe
from dsopt.evaluation.dd_ranking import scores
from dsopt.pipeline.plan import Plan
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.reporting.tables import Spread, aligned, column
from dsopt.stages.evaluate import Evaluation, accuracies, evaluation, has_recipe
from dsopt.storage import Stage, Table

SCORES = ["HLR", "IOR", "LRS", "ARS"]
HEADER = ["ranking of", "network", "recipe", "all real %", "random %", *SCORES]
NOTE = """\
DD-Ranking's scores in percent, mean ± sample standard deviation over the trainings; all real and random: accuracies.
HLR: accuracy lost against training on all real images, both with hard labels by the common recipe; 0 is best.
IOR: accuracy gained over as many random real images of each class (redrawn for every training), by the recipe of the row.
LRS: both in one number from 0 to 100; a set that neither loses nor gains has 26.9.
ARS: the gain over random images, averaged with and without the recipe's augmentation, and scaled as LRS.
"""
HARD = "Hard labels: random images have no learned labels, so both are trained by the set's recipe with hard labels."
RATES = "A recipe with learned rates takes no augmentation, so its ARS is by the common recipe."
NO_ARS = "ARS needs a recipe that augments: evaluate.augment=[shift], for example, also adds it to a recipe that has none."


@dataclass(frozen=True)
class Rank:
    """One line of scores.

    Args:
        evaluations: the trainings that `dsopt.evaluation.dd_ranking.scores` compares, by its names for them.
    """

    uri: str
    network: Choice
    recipe: str
    rates: bool
    evaluations: dict[str, Stage]


def rank(plan: Plan, uri: str, network: Choice, images: Stage, validation: float) -> Rank:
    """The trainings for a set's scores, most of which the table of accuracies has too."""
    config, manifest = plan.config, Table(uri).manifest
    exact, own = "pixels" in manifest["schema"], has_recipe(uri)
    hard = own and "soft_label" in manifest["schema"]
    recipe = Recipe(**manifest["recipe"]) if own else Recipe(augment=config.evaluate.augment)
    plain = Evaluation(uri, network, "common", not exact, validation=validation)
    given = Evaluation(uri, network, "own", False, hard=hard, validation=validation) if own else plain
    found = {"all": Evaluation(images.uri, network, "common", False, "all", validation=validation), "hard": plain, "set": given}
    if recipe.rates:
        found |= _augmented(plain, config.evaluate.augment, config.evaluate.augment)
    else:
        found |= _augmented(given, recipe.augment, config.evaluate.augment)
    sets = [name for name in found if name.startswith("set")]
    found |= {name.replace("set", "random"): dataclasses.replace(found[name], images="random") for name in sets}
    stages = {name: evaluation(plan, wanted, images) for name, wanted in found.items()}
    return Rank(uri, network, f"{given.recipe}{', hard labels' * hard}", bool(recipe.rates), stages)


def _augmented(wanted: Evaluation, own: Sequence[str], default: Sequence[str]) -> dict[str, Evaluation]:
    """A training with its own augmentation, or else the default one, and without augmentation; nothing if both are empty."""
    if own:
        return {"set_augmented": wanted, "set_plain": dataclasses.replace(wanted, augment=())}
    return {"set_augmented": dataclasses.replace(wanted, augment=tuple(default)), "set_plain": wanted} if default else {}


def text(ranks: list[Rank]) -> str:
    """The scores for a terminal, with their explanations."""
    table = aligned(HEADER, lines(ranks), 3)
    width = len(table.splitlines()[1])
    return "\n".join([table, *(line for note in _notes(ranks) for line in textwrap.wrap(note, max(100, width)))])


def sections(ranks: list[Rank]) -> list[Section]:
    """The section of the scores for the page; none without scores."""
    return [Section("DD-Ranking", "\n".join(_notes(ranks)), html=pages.table(HEADER, lines(ranks)))] if ranks else []


def lines(ranks: list[Rank]) -> list[list[str]]:
    """The cells of the table, below `HEADER`."""
    columns = []
    for each in ranks:
        found = {name: accuracies(evaluated) for name, evaluated in each.evaluations.items()}
        repeats = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
        scored = [scores(values) for values in repeats]
        spreads = {name: Spread.of([values[name] for values in scored]) for name in scored[0]}
        columns.append([Spread.of(found["all"]), Spread.of(found["random"]), *(spreads.get(name) for name in SCORES)])
    shown = zip(*(column(spreads, percent=True) for spreads in zip(*columns, strict=True)), strict=True)
    names = [[Table(each.uri).manifest["name"], each.network.name, each.recipe] for each in ranks]
    return [[*name, *cells] for name, cells in zip(names, shown, strict=True)]


def _notes(ranks: list[Rank]) -> list[str]:
    """What the scores mean, a line each, with notes on these sets."""
    found = NOTE.splitlines()
    found += [HARD] * any("hard" in each.recipe for each in ranks)
    have_ars = ["set_augmented" in each.evaluations for each in ranks]
    found += [RATES] * any(each.rates and has_ars for each, has_ars in zip(ranks, have_ars, strict=True))
    return found + [NO_ARS] * (not all(have_ars))
