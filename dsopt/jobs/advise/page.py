"""The advice: a table of what to expect, a page, and the table on the terminal."""

import textwrap
from collections.abc import Sequence

import pyarrow as pa

from dsopt.config import Config
from dsopt.files import write_bytes
from dsopt.jobs import audited
from dsopt.jobs.advise.findings import Facts, Found
from dsopt.jobs.advise.pilots import Queue
from dsopt.pipeline import outputs
from dsopt.progress import duration, say
from dsopt.reporting import forecasts
from dsopt.reporting import page as pages
from dsopt.reporting.page import Section
from dsopt.reporting.tables import aligned
from dsopt.storage import Stage, Table
from dsopt.version import versions

EXPECTED = pa.schema(
    [
        ("way", pa.string()),
        ("share", pa.float64()),
        ("images", pa.int64()),
        ("steps", pa.int64()),
        ("low", pa.float64()),
        ("accuracy", pa.float64()),
        ("high", pa.float64()),
    ]
)
NOTE = (
    "Accuracy % of a single training on held-out images, with the interval that holds 80 % of the forecasts. Pays: the steps from "
    "which on training on everything is better by more than what is good enough."
)


def write(stage: Stage, config: Config, queue: Queue, facts: Facts, found: Sequence[Found], budget: float, told: list[str]) -> None:
    """Write the advice, and declare its stage done."""
    write_bytes(stage.path("report.html"), _page(stage, config, queue, facts, found, told).encode())
    rows = [
        {"way": one.way.title, "share": share, "images": round(share * facts.images), "steps": facts.steps}
        | dict(zip(("low", "accuracy", "high"), interval, strict=True))
        for one in found
        for share, interval in one.expected.items()
    ]
    table, shown = pa.Table.from_pylist(rows, schema=EXPECTED), [*_expected(found)]
    told = [*told, _pilots(queue, facts)]
    outputs.commit(stage, table, name="expected", seconds=queue.spent(), budget=budget, told=told, shown=shown, page="report.html")


def show(stage: Stage) -> None:
    """Print the advice of a finished stage."""
    manifest = Table(stage.uri).manifest
    print(f"\n{aligned(*manifest['shown'])}\n{textwrap.fill(NOTE, 80)}\n")
    for line in manifest["told"]:
        print(textwrap.fill(line, 100))
    print()
    say("report", stage.path("report.html"))


def _pilots(queue: Queue, facts: Facts) -> str:
    chosen = ", ".join(f"{title} {seconds:,.1f} s" for title, seconds in facts.choosing.items())
    pilots, whole = f"{len(queue.done())} pilots trained for {duration(queue.spent())}", f"a full training of {facts.steps:,} steps"
    return f"{pilots}; {whole} is expected to take {duration(facts.seconds)}. Choosing took: {chosen or 'nothing'}."


def _expected(found: Sequence[Found]) -> tuple[list[str], list[list[str]]]:
    shares = list(dict.fromkeys(share for one in found for share in one.expected))
    head = ["images by", *(f"{100 * share:g} %" for share in shares)]
    lines = []
    for one in found:
        cells = [one.expected.get(share) for share in shares]
        lines.append(
            [one.way.title, *(f"{100 * c.middle:.1f} ({100 * c.low:.0f} to {100 * c.high:.0f})" if c else "–" for c in cells)]
        )
        steps = [one.pays_at.get(share) for share in shares]
        lines.append(["  everything pays from", *("" if at is None else f"{at:,}" for at in steps)])
    return head, lines


def _page(stage: Stage, config: Config, queue: Queue, facts: Facts, found: Sequence[Found], told: list[str]) -> str:
    pilots = [(queue.pilots[number], queue.accuracy(number)) for number in queue.done()]
    drawn = {one.way.title: one.forecast for one in found}
    points = [
        forecasts.Point(pilot.way.title if pilot.way else None, pilot.share * facts.images, pilot.steps, accuracy)
        for pilot, accuracy in pilots
    ]
    over_images = forecasts.over_images(drawn, points, facts.images, facts.steps, facts.batch)
    over_steps = forecasts.over_steps(next(iter(drawn.values())), points, next(iter(drawn)), facts.images, facts.steps, facts.batch)
    sections = [
        *audited.first(stage, config),
        Section("What to expect", NOTE, html=pages.table(*_expected(found))),
        Section("Accuracy over images", f"After {facts.steps:,} steps, with 80 % intervals.", png=over_images),
        Section("Accuracy over steps", "Of random images; points are pilots, bands 80 % intervals.", png=over_steps),
        Section("Pilots", "", html=pages.table(*_listed(queue))),
        Section(
            "Forms",
            "By which the forecasts are made, with their errors on held-out longer pilots, relative to wrong answers.",
            html=pages.table(*_forms(found)),
        ),
    ]
    facts_shown = {
        "data": f"{config.data.name}: {facts.images:,} training images",
        "training": f"{config.train.name}, {facts.steps:,} steps of {facts.batch}",
        "pilots": _pilots(queue, facts),
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    return pages.page(f"dsopt: how much of {config.data.name} is enough", " ".join(told), facts_shown, sections)


def _listed(queue: Queue) -> tuple[list[str], list[list[str]]]:
    lines, done = [], set(queue.done())
    for number, pilot in enumerate(queue.pilots):
        way = pilot.way.title if pilot.way else "all"
        result = f"{100 * queue.accuracy(number):.2f}" if number in done else queue.left_out.get(number, "")
        lines.append([way, f"{100 * pilot.share:g} %", f"{pilot.steps:,}", str(pilot.seed), result])
    return ["images by", "share", "steps", "seed", "accuracy %"], lines


def _forms(found: Sequence[Found]) -> tuple[list[str], list[list[str]]]:
    lines = [
        [f"{one.way.title}: {weighed.form.name}", f"{100 * weighed.weight:.0f} %", f"{100 * weighed.error:.1f} %"]
        for one in found
        for weighed in one.forecast.forms
    ]
    return ["form", "weight", "error for a root of doublings"], lines
