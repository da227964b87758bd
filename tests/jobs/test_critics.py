"""What Wasserstein critics estimate, beside what is measured."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from running import SMALL, here

from dsopt.jobs.sweep import critics
from dsopt.learners.adversarial import WeightedTerm, named_terms
from dsopt.reporting.losses import Critic
from dsopt.storage import METRICS, Table

pytestmark = pytest.mark.usefixtures("unrendered")


def metrics(rows: list[tuple[int, str, str, float]]) -> pa.Table:
    found = [("run", 0, step, 0.1 * step, split, name, value) for step, split, name, value in rows]
    return pa.Table.from_pylist([dict(zip(METRICS.names, row, strict=True)) for row in found], schema=METRICS)


def weighted(name: str, weight: float, side: str) -> WeightedTerm:
    return WeightedTerm(name, weight, side, lambda context: torch.zeros(()))  # type: ignore[arg-type]


def test_an_estimate_is_the_end_of_the_loss_without_its_terms() -> None:
    """Scores of real and generated images 3 and 1 apart from their terms, 5 and 1 in the last records of 1,000 steps."""
    rows: list[tuple[int, str, str, float]] = []
    for step, real, made in [(900, 3.0, 1.0), (980, 5.0, 2.0), (1000, 5.0, 0.0)]:
        penalty, told = step / 1000, 0.5
        rows += [(step, "train", "loss", made - real + 10 * penalty + 2 * told), (step, "train", "gradient_penalty", penalty)]
        rows += [(step, "train", "discriminator_information", told), (step, "train", "generator_information", 7.0)]
        rows += [(step, "train", "generator_loss", -made), (step, "train", "pull_away", 9.0)]
    rows.append((1000, "test", "loss", 99.0))
    terms = [
        weighted("gradient_penalty", 10, "discriminator"),
        weighted("information", 2, "both"),
        weighted("pull_away", 3, "generator"),
    ]
    assert critics.estimate(metrics(rows), terms) == pytest.approx(((5 - 2) + (5 - 0)) / 2)
    assert critics.estimate(metrics(rows[:6]), terms) == pytest.approx(3 - 1)


def test_two_terms_of_one_name_are_told_apart_as_the_learner_names_them() -> None:
    rows = [("loss", 5.0), ("discriminator_feature_matching", 1.5), ("generator_feature_matching", 40.0)]
    terms = [weighted("feature_matching", 2, "discriminator"), weighted("feature_matching", 7, "generator")]
    assert critics.estimate(metrics([(100, "train", *row) for row in rows]), terms) == pytest.approx(2 * 1.5 - 5)


def test_each_of_several_terms_of_one_name_has_a_number_of_its_own() -> None:
    terms = [weighted("slope", weight, side) for weight, side in ((1, "generator"), (2, "discriminator"), (3, "both"))]
    terms.append(weighted("l1", 4, "generator"))

    def named(side: str, some: list[WeightedTerm]) -> list[tuple[str, float]]:
        return [(name, term.weight) for name, term in named_terms(side, some)]

    assert named("generator", terms) == [("generator_slope_1", 1), ("generator_slope_2", 3), ("l1", 4)]
    assert named("discriminator", terms) == [("discriminator_slope_1", 2), ("discriminator_slope_2", 3)]
    assert named("generator", [terms[0], terms[0]]) == [("slope_1", 1), ("slope_2", 1)]
    assert named("generator", terms[:2]) == [("generator_slope", 1)] and named("generator", [terms[0], terms[3]])[0] == ("slope", 1)


def test_a_correlation_is_of_ranks_and_of_at_least_three() -> None:
    def found(*pairs: tuple[float, float]) -> float | None:
        return critics.correlation([Critic(0, 10 * i, *pair) for i, pair in enumerate(pairs)])

    assert found((1.0, 2.0), (3.0, 4.0)) is None
    assert found((1.0, 2.0), (3.0, 90.0), (2.0, 3.0)) == pytest.approx(1)
    assert found((1.0, 2.0), (3.0, -90.0), (2.0, 1.0), (0.0, 5.0)) == pytest.approx(-1)
    assert found((1.0, 1.0), (2.0, 3.0), (3.0, 2.0)) == pytest.approx(0.5)


def test_seeds_are_compared_with_themselves_alone() -> None:
    """In both, more is more, but the second is far lower in one and far higher in the other; a third has too few to tell."""
    first, second = ([Critic(seed, i, i + 9.0 * seed, i - 9.0 * seed) for i in range(3)] for seed in (0, 1))
    assert critics.correlation([*first, *second]) == pytest.approx(1)
    reverse = [critic._replace(seed=2, measured=-critic.measured) for critic in first]
    assert critics.correlation([*first, *second, *reverse, Critic(3, 1, 1.0, 1.0)]) == pytest.approx(1 / 3)


WGAN = "generate.loss.name=wasserstein"
STUDY = (
    *(*SMALL, "cluster.workers=0", "cluster.cpus_per_worker=1", "data.limit=200", "proxy.steps=8", "proxy.batch_size=32"),
    *("proxy.options.width=8", "sweep.of=generate", "generate.generator={name: mlp_generator, options: {width: 16}}"),
    *("generate.discriminator={name: mlp_discriminator, options: {width: 20}}", "generate.latent=8", "generate.batch_size=16"),
    *("generate.samples=20", "sweep.seeds=1", "sweep.grid.generate.steps=[2,4,6]"),
)
ROWS = (
    f"sweep.rows={{CLIPPED: [{WGAN},generate.clip=0.05], "
    f"PENALTY: [{WGAN},'generate.terms=[{{name: gradient_penalty, weight: 10}}]']}}"
)


def page(storage: Path, *overrides: str) -> tuple[str, list[dict]]:
    here(f"storage={storage}", *STUDY, *overrides, job="sweep")
    file = max(storage.glob("sweep/*/trials.parquet"), key=lambda path: path.stat().st_mtime_ns)
    return file.with_name("report.html").read_text(), pq.read_table(file).to_pylist()


def rank(values: list[float]) -> list[int]:
    return [sorted(values).index(value) for value in values]


def estimated(storage: Path, measure: str, weight: float) -> float:
    """By hand, from what the generator's training wrote down last."""
    samples = Table(f"{storage}/{measure}").manifest["inputs"]["samples"]
    own = Table(f"{storage}/{Table(f'{storage}/{samples}').manifest['inputs']['generator']}").read()
    last = own.filter((pc.field("split") == "train") & (pc.field("step") == int(own["step"].to_numpy().max())))
    value = dict(zip(last["name"].to_pylist(), last["value"].to_pylist(), strict=True))
    return weight * value.get("gradient_penalty", 0.0) - value["loss"]


@pytest.mark.slow
def test_a_study_tells_whether_the_critics_follow_the_images(tmp_path: Path) -> None:
    html, rows = page(tmp_path, ROWS)
    told = re.search(r"with the fcd, per seed: CLIPPED (\S+) of 1 x 3; PENALTY (\S+) of 1 x 3\.", html)
    assert told
    for name, weight, said in (("CLIPPED", 0.0, told[1]), ("PENALTY", 10.0, told[2])):
        own = [row for row in rows if row["row"] == name]
        estimates = [estimated(tmp_path, row["stage"], weight) for row in own]
        apart = [a - b for a, b in zip(rank(estimates), rank([row["fcd"] for row in own]), strict=True)]
        assert float(said) == pytest.approx(1 - 6 * sum(d * d for d in apart) / (3 * (3**2 - 1)), abs=0.006)
        assert f'<tr><th scope="row">{name}</th><td>6</td><td>1</td>' in html


@pytest.mark.long
@pytest.mark.slow
def test_two_lengths_have_a_figure_and_no_correlation_and_other_losses_have_neither(tmp_path: Path) -> None:
    html, _ = page(tmp_path, f"sweep.rows={{GAN: [], CLIPPED: [{WGAN},generate.clip=0.05]}}", "sweep.grid.generate.steps=[2,4]")
    assert "CLIPPED – of 1 x 2" in html
    html, _ = page(tmp_path, "sweep.rows={GAN: []}")
    assert "critic" not in html
