"""Folders as people have them: one rule says which are splits and which are classes."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import found, write, write_parquet

from dsopt.data import understood
from dsopt.data.sources.layout import layout, named_split, split_word
from dsopt.errors import InputError


@pytest.mark.parametrize(
    "train, test",
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train2017", "val2017"),
        ("Train", "Validation"),
        ("images/train", "images/valid"),
        ("archive/flowers/train/images", "archive/flowers/test/images"),
        ("ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val"),
        ("training-images", "dev-images"),
        ("split=train", "split=test"),
        ("trainset", "eval"),
    ],
)
def test_splits_are_found_however_they_are_called(tmp_path: Path, train: str, test: str) -> None:
    write(
        tmp_path,
        *(f"{train}/{c}/{i}.jpg" for c in ("cat", "dog") for i in range(3)),
        *(f"{test}/{c}/9.jpg" for c in ("cat", "dog")),
    )
    read = found("folder", tmp_path)
    assert read.classes == ["cat", "dog"] and read.sizes() == {"train": 6, "test": 2}
    assert read.findings.counts == {"train": {"cat": 3, "dog": 3}, "test": {"cat": 1, "dog": 1}}


@pytest.mark.parametrize("below", ["images", "archive/photos", "a/b/c", "."])
def test_all_in_one_folder_has_no_labels(tmp_path: Path, below: str) -> None:
    write(tmp_path, *(f"{below}/Abyssinian_{i}.jpg" for i in range(5)))
    (tmp_path / "README.md").write_text("about")
    read = found("folder", tmp_path)
    assert read.classes is None and read.labels() == [None] * 5 and read.findings.counts == {None: 5}


@pytest.mark.parametrize("above", ["", "photos", "train_data/photos"])
def test_classes_are_found_below_a_folder_around_everything(tmp_path: Path, above: str) -> None:
    write(tmp_path / above, "cat/1.png", "dog/1.png", "dog/puppies/2.png")
    assert found("folder", tmp_path).labels() == ["cat", "dog", "dog"]


def test_classes_by_split_and_splits_by_class(tmp_path: Path) -> None:
    write(tmp_path, *(f"{c}/{s}/{c}{s}{i}.png" for c in ("cat", "dog") for s in ("train", "test") for i in range(2)))
    read = found("folder", tmp_path)
    assert read.classes == ["cat", "dog"] and read.sizes() == {"train": 4, "test": 4}


def test_a_test_split_of_another_kind_has_no_labels(tmp_path: Path) -> None:
    """As in Tiny ImageNet: train/<class>/images/*, val/images/*; the labels of val are elsewhere."""
    write(
        tmp_path, *(f"train/{c}/images/{i}.png" for c in ("n01", "n02") for i in range(2)), "val/images/1.png", "val/images/2.png"
    )
    read = found("folder", tmp_path)
    assert read.classes == ["n01", "n02"] and read.sizes() == {"": 4}
    assert read.findings.hints == (
        "the split validation has no labels and is not used; data.test_fraction of the training images serves as test.",
    )


def test_class_names_that_hold_split_words_are_classes(tmp_path: Path) -> None:
    write(tmp_path, "train_station/1.png", "test_tube/1.png", "bus_station/1.png")
    assert found("folder", tmp_path).classes == ["bus_station", "test_tube", "train_station"]


@pytest.mark.parametrize("beside", ["extra/1.png", "seg_pred/1.png", "top.png"])
def test_images_beside_the_splits_are_named(tmp_path: Path, beside: str) -> None:
    write(tmp_path, "seg_train/cat/1.png", "seg_test/cat/1.png", beside)
    with pytest.raises(InputError, match=r"has seg_test and seg_train, but also (extra|seg_pred|images)"):
        found("folder", tmp_path)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_class_in_two_unicode_forms_is_one(tmp_path: Path, forms: tuple[str, str]) -> None:
    for split, form in zip(("train", "test"), forms, strict=True):
        write(tmp_path, *(f"{split}/{unicodedata.normalize(form, c)}/{i}.png" for c in ("café", "hôtel") for i in range(2)))
    read = found("folder", tmp_path)
    assert read.classes == ["café", "hôtel"] and set(read.labels("test")) == {"café", "hôtel"} and read.broken == []


def test_what_systems_leave_behind_is_no_data(tmp_path: Path) -> None:
    write(
        tmp_path,
        "cat/1.png",
        "dog/1.png",
        "@eaDir/cat/1.png",
        "cat/@eaDir/1.png",
        "__MACOSX/cat/1.png",
        "cat/._1.png",
        ".git/x.png",
    )
    read = found("folder", tmp_path)
    assert read.sizes() == {"": 2} and read.findings.passed_over == ()


@pytest.mark.parametrize(
    "one, other, inner",
    [
        ("fine", "coarse", ("train/oak/1.png", "test/oak/2.png")),
        ("32x32", "64x64", ("cat/1.png", "dog/2.png")),
        ("32x32", "64x64", ("1.png", "2.png")),
        ("images", "masks", ("train/1.png", "test/2.png")),
    ],
)
def test_two_sets_below_one_root_are_refused(tmp_path: Path, one: str, other: str, inner: tuple[str, ...]) -> None:
    write(tmp_path, *(f"{top}/{name}" for top in (one, other) for name in inner))
    with pytest.raises(InputError, match=f"holds two data sets, {min(one, other)} and {max(one, other)}") as error:
        found("folder", tmp_path)
    assert "\n" not in str(error.value)
    assert found("folder", tmp_path / one).rows


@pytest.mark.parametrize("one, other", [("images/1.jpg", "annotations/trimaps/1.png"), ("JPEGImages/1.jpg", "Segmentation/2.png")])
def test_folders_by_the_kind_of_files_are_no_classes(tmp_path: Path, one: str, other: str) -> None:
    write(tmp_path, one, other)
    with pytest.raises(InputError, match=f"has images in {one.split('/')[0]}|{other.split('/')[0]} .* hardly classes"):
        found("folder", tmp_path)
    assert found("folder", tmp_path / one.split("/")[0]).labels() == [None]


@pytest.mark.parametrize("one, other", [("fine", "coarse"), ("32x32", "64x64"), ("data/fine", "data/coarse")])
def test_two_configurations_of_parquet_files_are_refused(tmp_path: Path, one: str, other: str) -> None:
    for top in (one, other):
        for split, rows in (("train", 4), ("test", 2)):
            write_parquet(tmp_path / top / f"{split}-00000-of-00001.parquet", list(range(rows)))
    with pytest.raises(InputError, match="holds two data sets"):
        found("parquet", tmp_path)
    assert found("parquet", tmp_path / one).sizes() == {"train": 4, "test": 2}
    assert found("parquet", f"{tmp_path}/{one}/*.parquet").sizes() == {"train": 4, "test": 2}


@pytest.mark.parametrize(
    "name, split",
    [
        *(
            (word, "train")
            for word in ("train", "seg_train", "training_set", "train2017", "Train", "train-00000-of-00002", "trainval")
        ),
        *((word, "test") for word in ("test_set", "TESTING", "x-test.0", "eval", "evaluation")),
        *((word, "validation") for word in ("valid", "val", "dev", "validation-0")),
        *((word, None) for word in ("latest", "contest", "trainer", "device", "evaluate_me", "interval", "label=train", "trained")),
    ],
)
def test_split_words(name: str, split: str | None) -> None:
    assert split_word(name) == split and named_split(f"any/{name}/0.parquet") == split


NAMES = st.sampled_from(["cat", "dog", "images", "train", "test", "val", "seg_train", "x y", "32x32", "label=a", "é"])
PATHS = st.lists(st.lists(NAMES, max_size=4).map("/".join), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(PATHS, st.lists(st.sampled_from(["wrap", "photos"]), max_size=2))
def test_the_layout_is_a_function_of_the_names(folders: list[str], around: list[str]) -> None:
    names = [f"{folder}/{i}.png".lstrip("/") for i, folder in enumerate(folders)]
    try:
        plain = layout(names)
    except InputError as error:
        assert "\n" not in str(error)
        return
    placed = [plain.of(name) for name in names]
    assert placed == [layout(names[::-1]).of(name) for name in names]  # in whatever order they are listed
    wrapped = ["/".join([*around, name]) for name in names]
    assert [layout(wrapped).of(name) for name in wrapped] == placed  # a folder around everything changes nothing
    if len({name.rpartition("/")[0] for name in names}) == 1 and "=" not in names[0]:
        assert {label for _, label in placed} == {None}  # all in one folder: no labels
    splits = {split for split, _ in placed}
    assert None not in splits or splits == {None}  # either all files have a split or none has


def test_folders_of_systems_are_no_classes(tmp_path: Path) -> None:
    names = ("$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle", "@Recycle", "#snapshot")
    write(tmp_path, "cat/1.png", "dog/1.png", *(f"{name}/1.png" for name in names))
    assert found("folder", tmp_path).classes == ["cat", "dog"]


def test_a_lone_class_of_another_case_is_no_folder_around_everything(tmp_path: Path) -> None:
    write(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/Cat/2.png")
    refused = understood.found(found("folder", tmp_path).findings).refused
    assert refused == [
        "classes whose names differ by case, blanks or Unicode form only: 'Cat', 'cat'; training and test use different ones"
    ]


def test_an_empty_partition_has_no_label(tmp_path: Path) -> None:
    write(tmp_path, "label=cat/1.png", "label=/2.png", "label=__HIVE_DEFAULT_PARTITION__/3.png")
    read = found("folder", tmp_path)
    assert read.classes == ["cat"] and [row.reason for row in read.broken] == ["no label"] * 2


@pytest.mark.parametrize("name", ["parquet", "webdataset", "table"])
def test_a_file_beside_those_of_splits_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, "1.png")
    end = {"parquet": "parquet", "webdataset": "tar", "table": "csv"}[name]
    for split in ("train", "test", "extra"):
        file = tmp_path / f"set/{split}-0.{end}"
        write_parquet(tmp_path / f"set/{split}-0.parquet", [0, 1])
        if name == "webdataset":
            shutil.make_archive(str(file.with_suffix("")), "tar", tmp_path, "1.png")
        if name == "table":
            file.write_text("path,label\n../1.png,0\n")
        if name != "parquet":
            (tmp_path / f"set/{split}-0.parquet").unlink()
    with pytest.raises(InputError, match=rf"has test-0\.{end} and train-0\.{end}, but also extra-0\.{end}, which names no split"):
        found(name, tmp_path / "set")
    assert found(name, f"{tmp_path}/set/t*.{end}").sizes().keys() == {"train", "test"}


def test_a_folder_of_images_within_a_split_is_no_class(tmp_path: Path) -> None:
    write(tmp_path, "train/a/images/1.png", "train/b/images/2.png", "val/images/3.png", "test/images/4.png")
    read = found("folder", tmp_path)
    assert read.labels() == ["a", "b"] and "the split test has no labels" in read.findings.hints[0]


def test_thumbnails_are_no_class(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/2.png", "thumbnails/1.png")
    with pytest.raises(InputError, match="has images in thumbnails and in cat, which are hardly classes"):
        found("folder", tmp_path)


@pytest.mark.parametrize("names", [["cat/1.png", "cat/a/1.png", "dog/2.png", "dog/a/2.png"], ["cat/a/1", "cat/b/2", "dog/a/3"]])
def test_folders_within_several_classes_are_told(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, *names)
    hints = found("folder", tmp_path).findings.hints
    assert hints == ("classes are cat, dog; folders within several of them are read as parts of these: a.",)


def test_lists_beside_classes_are_told(tmp_path: Path) -> None:
    write(tmp_path, "images/cat/1.png", "images/dog/2.png")
    (tmp_path / "train_test_split.txt").write_text("1 0\n2 1\n")
    (tmp_path / "all.csv").write_text("path,label\n")
    assert found("folder", tmp_path).findings.hints == (
        "labels are read from folders; not from all.csv (data.name=table).",
        "no split is read from lists such as train_test_split.txt; expected folders train and test, or a table with both.",
    )


def test_archives_of_windows_are_told(tmp_path: Path) -> None:
    write(tmp_path, "cat\\1.png", "dog\\1.png")
    assert "names hold backslashes" in found("folder", tmp_path).findings.hints[0]
