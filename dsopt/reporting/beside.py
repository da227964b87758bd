"""What a page says of the paper that `reference` names: where its numbers are from, what differs, and those of a single run."""

from collections.abc import Mapping, Sequence

from dsopt.config import Config
from dsopt.config.references import PERCENT, Facts, facts_of, find
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.reporting.published import difference

HEAD = ["measure", "here", "paper", "difference"]


def about(config: Config) -> str:
    """The paper's result in a sentence or two; "" without a reference."""
    if config.reference is None:
        return ""
    reference = find(config.reference)
    return f"{reference.paper[0].upper()}{reference.paper[1:]}, {reference.where}: {reference.about}"


def note(config: Config, runs: Sequence[Facts]) -> str:
    """Where the numbers in a table's columns are from, and what differs in the setting; "" without a reference."""
    return find(config.reference).note(config.data.name, runs) if config.reference else ""


def lines(config: Config, found: Mapping[str, float], facts: Facts | None = None) -> list[list[str]]:
    """The cells of a single run's table, below `HEAD`: the measures that the configuration's paper gives for such a run."""
    if config.reference is None:
        return []
    published = find(config.reference).published(config.data.name, facts or facts_of(config))
    ours = {name: f"{found[name] * (100 if name in PERCENT else 1):.4g}" for name in published if name in found}
    return [[name, ours.get(name, "–"), str(one), difference(one, found.get(name), name)] for name, one in published.items()]


def section(config: Config, found: Mapping[str, float], facts: Facts | None = None) -> list[Section]:
    """The section of a single run's page; none without a reference."""
    if config.reference is None:
        return []
    text, cells = f"{about(config)}\n\n{note(config, [facts or facts_of(config)])}", lines(config, found, facts)
    return [Section("Beside the paper", text, html=pages.table(HEAD, cells) if cells else None)]
