"""A paper's numbers as data, and beside the results of runs."""

import functools
from typing import Any

import pytest

from dsopt import config as configuration
from dsopt.config import Config
from dsopt.config.overrides import PRESETS
from dsopt.config.references import facts_of, find, names
from dsopt.errors import InputError
from dsopt.reporting.tables import ACCURACY, Measure, ResultRow, as_text, cells, header
from dsopt.stages.measure import CAS, DISTANCE

# Keys of a run that are options of a registered function, or that not every configuration has.
OPTIONS = ".options."
ROW_FACTS = ("row", "method", "split")


def _is_key(key: str) -> bool:
    try:
        functools.reduce(getattr, key.partition(OPTIONS)[0].split("."), Config())
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("name", names())
def test_every_reference_is_well_formed(name: str) -> None:
    found = find(name)
    assert found.paper and found.where and found.about
    assert [key for key in found.setting if not _is_key(key)] == []
    measures = {"accuracy", "mean_accuracy", *CAS, *DISTANCE.values()}
    for value in found.values:
        assert value.measure in measures and (value.value is None) == bool(value.says), value
        assert [key for key in value.match if key not in ROW_FACTS and not _is_key(key)] == [], value
        assert value.value is None or 0 <= value.value < 500, value


def test_values_as_the_papers_print_them() -> None:
    """Some numbers of every table, looked up by hand."""

    def one(name: str, data: str, measure: str, **facts: Any) -> float | None:
        return find(name).published(data, lambda key: facts.get(key.replace(".", "_")))[measure].value

    tables = functools.partial(one, "augmentation_tables")
    assert tables("cifar10", "accuracy", row="CDCVAE", select_budget=8500) == 74.07
    assert tables("cifar10", "accuracy", row="AUGORIG", select_budget=1.0) == 89.36
    assert tables("mnist", "accuracy", row="CDCGAN", select_budget=0.02) == 96.74
    assert tables("cifar10", "fid", row="CDCGAN", select_budget=38250) == 123.05
    assert tables("mnist", "fid", row="CDCVAE", select_budget=0.05) == 34.13
    assert one("thesis_gan_loss", "cifar10", "cas", row="MAGN-D-2.5") == 78.44
    assert one("thesis_gan_loss", "cifar10", "fid", row="DIFF-TRAINED-D-1.0") == 12.88
    assert one("thesis_latent", "cifar10", "fid", row="SLOPES_TENTH") == 80.522
    assert one("selection_split", "cifar10", "accuracy", method="random", split=1.0) == 57.6
    assert len(find("augmentation_tables").values) == 13 * 2 * (7 + 5)
    assert len(find("thesis_gan_loss").values) == 1 + 2 * 23


def test_rows_of_the_selection_papers_presets_meet_its_numbers() -> None:
    """Also where rows have names of their own."""
    for preset, expected in (
        ("paper_tenth", {"FULL": 83.3, "TOP_ACTIVATION": 63.9, "RANDOM": 57.6}),
        ("paper_budget", {"FULL": 10.4, "FULL_STREAMED": 10.4, "TOP_ACTIVATION": 63.5, "TOP_ACTIVATION_STREAMED": 63.5}),
    ):
        config = configuration.load([f"preset={preset}"])
        assert config.reference is not None
        found = {}
        for row, overrides in config.sweep.rows.items():
            own = configuration.variant(config, overrides)
            published = find(config.reference).published("cifar10", facts_of(own, row=row, method=row, split=own.train.split))
            found |= {row: published["accuracy"].value} if "accuracy" in published and published["accuracy"].compared else {}
        assert found == expected, preset


@pytest.mark.slow
def test_studies_name_a_reference_and_unknown_ones_are_refused() -> None:
    studies = list(PRESETS.rglob("study_*.yaml"))
    assert studies
    for path in studies:
        assert configuration.load([f"preset={path.stem}"]).reference in set(names()), path.stem
    with pytest.raises(InputError, match=r"reference 'selection_splt' is not known. Did you mean 'selection_split'\?"):
        configuration.load(["reference=selection_splt"])


def _row(title: str, method: str, split: float, mean: float, reference: str, data: str, measure: Measure = ACCURACY) -> ResultRow:
    config = configuration.load([f"data.name={data}"])
    found = find(reference).published(data, facts_of(config, row="", method=method, split=split))
    return ResultRow(title, method, split, 10, 1, mean, None, 1.0, 0.0, 1.0, measure=measure, published=found)


def test_columns_beside_the_results() -> None:
    rows = [
        _row("full data", "full", 0.0, 0.84, "selection_split", "cifar10"),
        _row("random, 100/0", "random", 1.0, 0.5, "selection_split", "cifar10"),
        _row("kcenter, 100/0", "kcenter", 1.0, 0.6, "selection_split", "cifar10"),
    ]
    assert header(rows)[3:5] == ["paper", "difference"]
    assert [line[3:5] for line in cells(rows)] == [["83.3", "+0.70"], ["57.6", "-7.60"], ["", ""]]
    assert "57.6" in as_text(rows)


def test_another_data_set_is_shown_and_not_compared() -> None:
    rows = [_row("full data", "full", 0.0, 0.84, "selection_split", "digits")]
    assert header(rows)[3] == "paper" and "difference" not in header(rows)
    assert cells(rows)[0][3] == "83.3 (cifar10)"
    note = find("selection_split").note("digits", [facts_of(configuration.load(["data.name=digits", "train.steps=500"]))])
    assert "nothing is compared with digits" in note and "train.steps 500 (paper: 10000)" in note


def test_an_option_that_is_not_given_has_its_default() -> None:
    fact = facts_of(configuration.load(["train.name=vgg", "distill.name=dd", "distill.options.fixed_layers=2"]), row="ORIG")
    assert (fact("train.options.dropout"), fact("train.options.width")) == (0.6, 64)
    assert (fact("distill.options.fixed_layers"), fact("distill.options.epochs")) == (2, 3)
    assert fact("train.options.no_such") is None and fact("row") == "ORIG" and fact("split") is None


def test_without_a_reference_nothing_changes() -> None:
    assert header([ResultRow("full data", "full", 0.0, 10, 1, 0.5, None, 1.0, 0.0, 1.0)])[3] == "training s"
