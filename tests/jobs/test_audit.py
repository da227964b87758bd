"""The auditing job on a folder of pictures in which every kind of fault is planted; and subsets without them."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from running import here, read

from dsopt.errors import InputError
from dsopt.jobs import audited
from dsopt.jobs.audit import job as audit
from dsopt.pipeline.plan import Plan
from dsopt.stages import select
from dsopt.storage import Kind, Stage, Table

pytestmark = pytest.mark.usefixtures("unrendered")

TINY = ["cluster.workers=0", "autoencoder.steps=8", "autoencoder.batch_size=16", "autoencoder.options.width=4", "probe.epochs=5"]
EACH = 20  # pictures a class in training


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes across and down, in training and test; names say what is wrong."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", EACH), ("test", 6)):
        for name in ("across", "down"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                wave = 60 * np.sin(np.arange(32) * (0.6 + 0.04 * i) + i)[:, None] + draw.integers(40, 160, (32, 32))
                pixels = wave if name == "across" else wave.T
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / name / f"{i:02}.png")
    train, test = root / "train", root / "test"
    shutil.copy(train / "across/03.png", train / "across/copy.png")
    Image.open(train / "across/04.png").save(train / "across/saved_anew.bmp")
    shutil.copy(test / "down/02.png", train / "down/leak.png")
    shutil.copy(train / "down/05.png", train / "across/other_label.png")
    Image.open(train / "across/07.png").point(lambda value: value // 10).save(train / "across/dark.png")
    Image.new("L", (32, 32), 128).save(train / "down/blank.png")
    Image.open(train / "down/08.png").resize((128, 32)).save(train / "down/wide.png")
    return root


@pytest.mark.slow
def test_what_was_planted_is_found(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [*TINY, "data.name=folder", f"data.root={pictures}", f"storage={tmp_path}"]
    here(*settings, job="audit")
    said = capsys.readouterr().out
    (stage,) = tmp_path.glob("issues/*")
    rows = list(csv.DictReader((stage / "issues.csv").open()))
    table = Table(str(stage)).read()
    assert [(row["kind"], row["id"]) for row in rows] == [(r["kind"], str(r["id"])) for r in table.to_pylist()]

    def named(kind: str, suggestion: str) -> set[str]:
        return {row["key"].rpartition("/")[2] for row in rows if row["kind"] == kind and row["suggestion"] == suggestion}

    assert {"copy.png", "saved_anew.bmp"} <= named("exact_duplicates", "leave out")
    assert len([row for row in rows if row["kind"] == "exact_duplicates"]) == 6
    assert named("leaks", "leave out") == {"leak.png"} and named("leaks", "keep") == {"02.png"}
    assert named("near_duplicates", "leave out") == {"dark.png"}
    assert [named(kind, "look") for kind in ("dark", "blank", "odd_aspect")] == [{"dark.png"}, {"blank.png"}, {"wide.png"}]
    (page,) = tmp_path.glob("report/*/report.html")
    html = page.read_text()
    assert "Audit of the data" in html and html.count("<figure>") == len(set(table["kind"].to_pylist())) and str(stage) in said
    here(*settings, job="audit")
    assert "done before, reused" in capsys.readouterr().out

    config = read(*settings, "select.name=random", "select.budget=30", "select.drop=[exact_duplicates,leaks,near_duplicates,dark]")
    plan = Plan(config)
    subset = select.subset(plan, config.select, 0)
    plan.run(subset)
    assert "left out of 47 images: 3 exact_duplicates, 1 leaks, 0 near_duplicates, 1 dark" in capsys.readouterr().out
    manifest = Table(subset.uri).manifest
    assert manifest["dropped"] == {"exact_duplicates": 3, "leaks": 1, "near_duplicates": 0, "dark": 1} and manifest["of"] == 47
    assert {"images", "audit of pixels"} == subset.inputs.keys()  # what is left out by pixels needs no embeddings

    for stage in (subset, Stage.existing(subset.uri)):  # what a page is of, planned or known by its folder
        (section,) = audited.first(stage, config)
        assert section.title == "Audit of the data" and section.html and "near_duplicates" in section.html
    assert not audited.first(subset, replace(config, compare=replace(config.compare, audit=False)))
    assert not audited.first(Stage(str(tmp_path / "elsewhere"), Kind("other"), "other", {}), config)


def test_every_page_begins_with_it() -> None:
    jobs = Path(audited.__file__).parent
    pages = {file: text for file in jobs.glob("*/page.py") if "pages.page(" in (text := file.read_text())}
    assert len(pages) == 8
    for file, text in pages.items():
        assert "audited.first(stage, config)" in text or ("summary(" in text and file.parent.name == "audit"), file


@pytest.mark.slow
def test_a_subset_has_no_image_that_is_left_out(pictures: Path, tmp_path: Path) -> None:
    """Whatever the method reads: ids alone, all embeddings, or a stream of them."""
    for method, more in (("random_balanced", []), ("kcenter", ["select.per_class=true"]), ("top_activation", [])):
        settings = [*TINY, "data.name=folder", f"data.root={pictures}", f"storage={tmp_path}", f"select.name={method}", *more]
        config = read(*settings, "select.budget=42", "select.drop=[exact_duplicates,leaks,dark]")  # all that are left
        plan = Plan(config)
        subset = select.subset(plan, config.select, 0)
        plan.run(subset)
        keys = [key.rpartition("/")[2] for key in Table(subset.uri).read()["key"].to_pylist()]
        assert len(keys) == 42 and not {"copy.png", "saved_anew.bmp", "leak.png", "dark.png"} & set(keys)
    config = read(*settings, "select.budget=43", "select.drop=[exact_duplicates,leaks,dark]")
    plan = Plan(config)
    with pytest.raises(InputError, match=r"43 images, and select.drop leaves 42 of 47"):
        plan.run(select.subset(plan, config.select, 0))
    more = read(*settings, "select.budget=43", "select.drop=[exact_duplicates,leaks,dark]", f"select.extends={subset.uri}")
    plan = Plan(more)
    with pytest.raises(InputError, match=r"budget=43: 42 images are kept, 1 more are wanted, and select.drop leaves 0; give fewer"):
        plan.run(select.subset(plan, more.select, 0))


def test_without_labels_and_without_a_test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(draw.integers(0, 256, (32, 32), np.uint8)).save(tmp_path / f"{i:02}.png")
    settings = [*TINY, "data.name=folder", f"data.root={tmp_path}", f"storage={tmp_path / 'runs'}", "data.test_fraction=0.01"]
    here(*settings, job="audit")
    said = capsys.readouterr().out
    assert "labels are not checked: the data set has no labels" in said
    (stage,) = (tmp_path / "runs").glob("issues/*")
    assert Table(str(stage)).read().schema.field("id").type == pa.int64()


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"select.drop: check 'leak' is not known. Did you mean 'leaks'"):
        read("select.drop=[leak]")
    with pytest.raises(InputError, match=r"audit.kinds: check dark: option 'under' is not known"):
        read("audit.kinds=[dark(under=0.1)]")
    with pytest.raises(InputError, match=r"select.drop=\['blank'\]: must be of audit.kinds, which has no blank"):
        read("audit.kinds=[leaks]", "select.drop=[blank]")
    with pytest.raises(InputError, match=r"select.drop=.*: must be \[\] with select.ids"):
        read("select.ids=some.txt", "select.drop=[leaks]")


def test_a_dry_run_shows_the_stages(tmp_path: Path) -> None:
    plan = Plan(read(*TINY, "data.name=digits", f"storage={tmp_path}"))
    kinds = [step.stage.kind.name for step in plan.to(*audit.targets(plan))]
    assert kinds.count("checked") == 3 and kinds.count("embed") == 2 and {"looks", "probe", "issues", "report"} <= set(kinds)
    plan = Plan(read(*TINY, "data.name=digits", f"storage={tmp_path}", "audit.kinds=[exact_duplicates,leaks]"))
    assert {step.stage.kind.name for step in plan.to(*audit.targets(plan))} == {"ingest", "looks", "checked", "issues", "report"}
