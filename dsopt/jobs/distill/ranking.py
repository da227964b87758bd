"""The scores of DD-Ranking for evaluated sets: the trainings they need beside the table's, and how they are told."""

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
HLR: what training on the set loses against all real images, both with whole-number labels by the common recipe; 0 is best.
IOR: what the set gains over as many random real images of each class (others in every training), by the recipe named here.
LRS: both in one number from 0 to 100; 26.9 is no better than random images that lose nothing.
ARS: the gain over random images with the recipe's augmentation and without it, weighed alike and scaled as LRS.
"""
HARD = "Hard labels: learned labels would need a teacher for random images, so both have the set's recipe with whole-number labels."
RATES = "ARS of a recipe with learned rates, which takes no augmentation, is by the common recipe."
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
    """What a set's scores come from; most of it are trainings that the table has too."""
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
    told = f"{given.recipe}{', hard labels' * hard}"
    return Rank(uri, network, told, bool(recipe.rates), {name: evaluation(plan, trial, images) for name, trial in found.items()})


def _augmented(trial: Evaluation, own: Sequence[str], else_: Sequence[str]) -> dict[str, Evaluation]:
    """A training with its own or else other transforms, and without; none where there are no transforms."""
    if own:
        return {"set_augmented": trial, "set_plain": dataclasses.replace(trial, augment=())}
    return {"set_augmented": dataclasses.replace(trial, augment=tuple(else_)), "set_plain": trial} if else_ else {}


def text(ranks: list[Rank]) -> str:
    """The scores for a terminal, and what they mean."""
    table = aligned(HEADER, lines(ranks), 3)
    width = len(table.splitlines()[1])
    return "\n".join([table, *(line for note in _notes(ranks) for line in textwrap.wrap(note, max(100, width)))])


def sections(ranks: list[Rank]) -> list[Section]:
    """The scores for the page, where there are any."""
    return [Section("DD-Ranking", "\n".join(_notes(ranks)), html=pages.table(HEADER, lines(ranks)))] if ranks else []


def lines(ranks: list[Rank]) -> list[list[str]]:
    """The cells of the table, below `HEADER`."""
    told = []
    for each in ranks:
        found = {name: accuracies(made) for name, made in each.evaluations.items()}
        repeats = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
        scored = [scores(values) for values in repeats]
        spreads = {name: Spread.of([values[name] for values in scored]) for name in scored[0]}
        told.append([Spread.of(found["all"]), Spread.of(found["random"]), *(spreads.get(name) for name in SCORES)])
    shown = zip(*(column(spreads, percent=True) for spreads in zip(*told, strict=True)), strict=True)
    names = [[Table(each.uri).manifest["name"], each.network.name, each.recipe] for each in ranks]
    return [[*name, *cells] for name, cells in zip(names, shown, strict=True)]


def _notes(ranks: list[Rank]) -> list[str]:
    """What the scores mean, a line each, and what is particular to these."""
    found = NOTE.splitlines()
    found += [HARD] * any("hard" in each.recipe for each in ranks)
    scored = ["set_augmented" in each.evaluations for each in ranks]
    found += [RATES] * any(each.rates and has for each, has in zip(ranks, scored, strict=True))
    return found + [NO_ARS] * (not all(scored))
