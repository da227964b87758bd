"""Figures of losses: panels that no run's scale can flatten."""

import pyarrow as pa
import pytest

from dsopt.reporting.losses import Critic, adversarial_losses, critic_estimates, loss_panels
from dsopt.reporting.tables import RunInfo
from dsopt.storage import METRICS


def metrics(**runs: list[tuple[str, int, float]]) -> pa.Table:
    rows = [(run, 0, step, 0.1 * step, "train", name, value) for run, found in runs.items() for name, step, value in found]
    return pa.Table.from_pylist([dict(zip(METRICS.names, row, strict=True)) for row in rows], schema=METRICS)


def info(run: str, row: str) -> RunInfo:
    return RunInfo(run, row, row, 0.0, 0, 10, 0.0)


def height(png: bytes) -> int:
    return int.from_bytes(png[20:24], "big")


def gan_losses(values: list[float]) -> list[tuple[str, int, float]]:
    return [(name, 20 * i, value) for i, value in enumerate(values) for name in ("loss", "generator_loss")]


def test_a_panel_a_number() -> None:
    one, two = metrics(a=[("loss", 1, 1.0), ("loss", 2, 0.5)]), metrics(a=gan_losses([1.0, 0.5]))
    assert height(loss_panels(one)) < height(loss_panels(two))


@pytest.mark.parametrize("rows", [1, 3, 4, 11])
def test_a_panel_a_row_three_across(rows: int) -> None:
    """Also of one record, of values that are not finite, and of runs that left no losses."""
    found = [gan_losses([1.0]), gan_losses([1e6, -1e6]), gan_losses([1.0, float("nan"), float("inf")]), []]
    runs = {f"run{i}": found[i % 4] for i in range(rows)}
    png = adversarial_losses(metrics(**runs), [info(run, f"a long name of a row, $x$ {run}") for run in runs])
    assert png.startswith(b"\x89PNG") and height(png) == 2 * (130 * -(-rows // 3) + 50)


def test_seeds_of_a_row_share_its_panel() -> None:
    both = metrics(a=gan_losses([1.0, 2.0]), b=gan_losses([3.0, 4.0]))
    assert adversarial_losses(both, [info("a", "one"), info("b", "one")]) == adversarial_losses(both, [info("a", "one")])


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_panel_a_critic_three_across(rows: int) -> None:
    critics = [Critic(seed, steps, 1.0 / steps, 10.0 - seed) for steps in (400, 100) for seed in (0, 1)]
    png = critic_estimates({f"a long name of a row, $x$ {i}": critics for i in range(rows)}, "fcd")
    assert png.startswith(b"\x89PNG") and height(png) == 2 * (230 * -(-rows // 3) + 20)
    assert png == critic_estimates({f"a long name of a row, $x$ {i}": critics[::-1] for i in range(rows)}, "fcd")  # in their order
