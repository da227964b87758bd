"""A data set that has grown: only its new images are embedded, and what was known of the others is what it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsopt.config import load
from dsopt.errors import InputError
from dsopt.pipeline import encoding
from dsopt.pipeline.plan import Plan
from dsopt.stages import embed, select
from dsopt.stages.earlier import extended
from dsopt.storage import Stage, Table

QUICK = ("autoencoder.steps=2", "autoencoder.batch_size=4", "autoencoder.options.width=4", "cluster.workers=0", "data.check=off")


def picture(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(file)


@pytest.fixture
def grown(tmp_path: Path) -> tuple[Path, Path]:
    """A folder, and the same with new images before, between and after the old ones, and one that is gone."""
    first, second = tmp_path / "first", tmp_path / "second"
    for i in range(10, 30, 2):
        picture(first / "train" / "ab"[i % 4 // 2] / f"{i}.png", i)
    picture(first / "test" / "a" / "1.png", 1)
    picture(first / "test" / "b" / "2.png", 2)
    shutil.copytree(first, second)
    for i in (3, 15, 40):
        picture(second / "train" / "a" / f"{i:02}.png", i)
    (second / "train" / "a" / "12.png").unlink()
    return first, second


def made(tmp_path: Path, root: Path, *more: str) -> Stage:
    plan = Plan(load(["data.name=folder", f"data.root={root}", f"storage={tmp_path / 'runs'}", *QUICK, *more]))
    stage = embed.embeddings(plan)
    plan.run(stage)
    return stage


def by_key(stage: Stage) -> dict[str, np.ndarray]:
    keys = Table(stage.inputs["images"].uri).read("train", ["key"])["key"].to_pylist()
    return dict(zip(keys, Table(stage.uri).read()["embedding"].combine_chunks().to_numpy_ndarray(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [(), ("embed.dtype=fp16", "embed.encoder=[autoencoder,proxy]", "proxy.steps=3", "proxy.batch_size=4")]
)
def test_only_new_images_are_embedded(
    grown: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
) -> None:
    before, seen, of_copies = made(tmp_path, grown[0], *more), [], encoding.of_copies

    def counted(function, size):  # embed imports it by name
        return of_copies(lambda images: seen.append(len(images)) or function(images), size)

    monkeypatch.setattr(embed, "of_copies", counted)
    after = made(tmp_path, grown[1], f"embed.extends={before.uri}", *more)
    first, second = by_key(before), by_key(after)
    assert sum(seen) == 3 * (2 if more else 1)
    assert len(second) == 12 and set(second) - set(first) == {"train/a/03.png", "train/a/15.png", "train/a/40.png"}
    assert all(np.array_equal(second[key], first[key]) for key in set(first) & set(second))
    assert "of 12 images 9 were embedded before, 3 are new; 1 of before are gone" in capsys.readouterr().out
    # The network is that of before, so the new ones are as it would have embedded them among the others.
    alone = made(tmp_path, grown[1], f"embed.extends={made(tmp_path, grown[0], *more).uri}", *more)
    assert alone.hash == after.hash
    assert "autoencoder" in after.inputs and after.inputs["autoencoder"].hash == before.inputs["autoencoder"].hash
    assert np.isfinite(np.stack(list(second.values()))).all() and len({tuple(v) for v in second.values()}) == 12


def test_nothing_is_embedded_where_nothing_is_new(
    grown: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(tmp_path, grown[0])
    monkeypatch.setattr(encoding.Embedder, "embed", property(lambda _: pytest.fail("a network was asked")))
    after = made(tmp_path, grown[0], f"embed.extends={before.uri}")
    assert {key: value.tolist() for key, value in by_key(after).items()} == {k: v.tolist() for k, v in by_key(before).items()}


def test_an_extension_is_extended(grown: tuple[Path, Path], tmp_path: Path) -> None:
    before = made(tmp_path, grown[1], f"embed.extends={made(tmp_path, grown[0]).uri}")
    picture(grown[1] / "train" / "b" / "50.png", 50)
    after = made(tmp_path, grown[1], f"embed.extends={before.uri}")
    first, second = by_key(before), by_key(after)
    assert len(second) == 13 and all(np.array_equal(second[key], first[key]) for key in first)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("embed.dtype=fp16",), "was embedded otherwise: as by default; now {'embed': {'dtype': 'fp16'}}"),
        (("embed.encoder=proxy", "proxy.steps=3", "proxy.batch_size=4"), "was embedded without proxy, which embed.encoder has now"),
        (("data.image_size=24",), "its working copies were made otherwise: {}; now {'image_size': 24}"),
        (("embed.source=table", "embed.table=x"), "embed.extends="),
    ],
)
def test_embeddings_that_do_not_compare_are_refused(
    grown: tuple[Path, Path], tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    before = made(tmp_path, grown[0])
    with pytest.raises(InputError, match=r"embed\.extends=") as error:
        made(tmp_path, grown[1], f"embed.extends={before.uri}", *options)
    assert says in str(error.value)


def test_what_is_no_embeddings_table_is_refused(grown: tuple[Path, Path], tmp_path: Path) -> None:
    images = made(tmp_path, grown[0]).inputs["images"]
    with pytest.raises(InputError, match="is of kind ingest; expected the embeddings of training images"):
        made(tmp_path, grown[1], f"embed.extends={images.uri}")
    with pytest.raises(InputError, match="no finished stage"):
        made(tmp_path, grown[1], f"embed.extends={tmp_path / 'nothing'}")


def chosen(tmp_path: Path, root: Path, *more: str) -> tuple[Stage, list[dict]]:
    config = extended(load(["data.name=folder", f"data.root={root}", f"storage={tmp_path / 'runs'}", *QUICK, *more]))
    plan = Plan(config)
    stage = select.subset(plan, config.select, 0)
    plan.run(stage)
    return stage, Table(stage.uri).read(columns=["key", "rank", "score", "reason"]).sort_by("rank").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kcenter", "kmeans", "random"])
def test_a_subset_is_extended(grown: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    before, first = chosen(tmp_path, grown[0], f"select.name={name}", "select.budget=10")  # all of them, so one is gone later
    stage, rows = chosen(tmp_path, grown[1], f"select.name={name}", "select.budget=11", f"select.extends={before.uri}")
    there = [row for row in first if not row["key"].endswith("/12.png")]
    assert [row["key"] for row in rows[:9]] == [row["key"] for row in there] and len({row["key"] for row in rows}) == 11
    assert [row["reason"] for row in rows[:9]] == [f"kept, {row['reason']}" for row in there]
    assert {row["key"] for row in rows[9:]} < {"train/a/03.png", "train/a/15.png", "train/a/40.png"}
    assert [row["rank"] for row in rows] == list(range(11))
    told = capsys.readouterr().out
    assert "1 of 10 images of" in told and "9 images are kept, 2 are chosen from the others" in told
    assert ("9 were embedded before, 3 are new" in told) == (name != "random")
    assert ("goes on from the centroids of 10 clusters" in told) == (name == "kmeans")
    again, same = chosen(tmp_path, grown[1], f"select.name={name}", "select.budget=11", f"select.extends={stage.uri}")
    assert [row["key"] for row in same] == [row["key"] for row in rows] and same[0]["reason"] == rows[0]["reason"]
    assert again.hash != stage.hash
    assert (Table(stage.uri).manifest.get("centroids") is not None) == (name == "kmeans")
    with pytest.raises(InputError, match=r"select.budget=8: .* has 11 images that are there; give as many"):
        chosen(tmp_path, grown[1], f"select.name={name}", "select.budget=8", f"select.extends={stage.uri}")


def test_only_a_subset_is_extended(grown: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is of kind embed; expected a subset"):
        chosen(tmp_path, grown[1], f"select.extends={made(tmp_path, grown[0]).uri}")
