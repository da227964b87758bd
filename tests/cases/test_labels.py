"""What labels mean is kept: names decide, never the numbers of another file."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import found, picture, write, write_parquet

from dsopt.errors import InputError


def test_class_names_that_differ_between_files_are_mapped_by_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1], ["cat", "dog"])
    write_parquet(tmp_path / "test.parquet", [0, 1, 1, 7, -1], ["dog", "cat"])
    read = found("parquet", tmp_path)
    assert read.classes == ["cat", "dog"] and read.labels("train") == ["cat", "dog", "cat", "dog"]
    assert read.labels("test") == ["dog", "cat", "cat"] and len(read.broken) == 2
    assert read.findings.counts == {"train": {"cat": 2, "dog": 2}, "test": {"dog": 1, "cat": 2}}


def test_a_known_set_does_not_overrule_the_names_of_a_file(tmp_path: Path) -> None:
    names = ["dog", "cat", "truck"]
    write_parquet(tmp_path / "train.parquet", [0, 1, 2], names)
    write_parquet(tmp_path / "test.parquet", [0], names)
    read = found("cifar10", tmp_path)
    assert read.classes == names and read.labels("train") == names and read.labels("test") == ["dog"]


def test_names_in_some_files_and_not_in_others(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [0, 1], ["cat", "dog"])
    write_parquet(tmp_path / "train-1.parquet", [1, 0])
    assert found("parquet", tmp_path).labels() == ["cat", "dog", "dog", "cat"]
    write_parquet(tmp_path / "train-2.parquet", [0, 1], ["dog", "cat"])
    with pytest.raises(InputError, match=r"names differ between files, and train-1\.parquet has none"):
        found("parquet", tmp_path)


def test_numbers_in_one_file_and_text_in_another(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1])
    write_parquet(tmp_path / "b.parquet", ["x", "y"])
    with pytest.raises(InputError, match=r"numbers in a\.parquet but text in b\.parquet"):
        found("parquet", tmp_path)
    write_parquet(tmp_path / "a.parquet", [0, 1], ["y", "x"])
    read = found("parquet", tmp_path)
    assert read.classes == ["y", "x"] and read.labels() == ["y", "x", "x", "y"]


def test_an_empty_text_is_no_class(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["x", "y", "", None, "nan"])
    read = found("parquet", tmp_path)
    assert read.classes == ["nan", "x", "y"] and [row.reason for row in read.broken] == ["no label", "no label"]
    assert read.findings.counts == {None: {"x": 1, "y": 1, "nan": 1}}


@pytest.mark.parametrize("column", ["target", "class", "category", "y", "Label", "fine_label"])
def test_label_columns_are_recognised(tmp_path: Path, column: str) -> None:
    write_parquet(tmp_path / "train.parquet", [2, 0, 1], column=column, photographer=["x"] * 3)
    read = found("parquet", tmp_path)
    assert read.labels() == [2, 0, 1] and read.findings.hints == ()


def test_a_column_that_the_file_declares_to_be_classes_is_taken(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [1, 0], ["oak", "fir"], column="species", height=[3, 4])
    assert found("parquet", tmp_path).labels() == ["fir", "oak"]


def test_columns_that_may_hold_labels_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", ["oak", "fir"], column="species", height=[3, 4])
    read = found("parquet", tmp_path)
    assert read.labels() == [None, None] and read.findings.counts == {None: 2}
    assert read.findings.hints == ("no column is known to hold labels; these may: species, height (options.label_column).",)
    named = found("parquet", tmp_path, label_column="species")
    assert named.labels() == ["oak", "fir"] and named.findings.hints == ()
    write_parquet(tmp_path / "train.parquet", [0, 1], column="coarse_label", fine_label=[5, 4])
    both = found("parquet", tmp_path)
    assert both.labels() == [5, 4]
    assert both.findings.hints == ("labels are read from fine_label; not from coarse_label (options.label_column).",)


def test_partitions_are_labels_and_splits(tmp_path: Path) -> None:
    images = pa.table({"image": [picture(1), picture(2)]})
    for split in ("train", "test"):
        for label in ("cat", "ice%20cream"):
            path = tmp_path / f"split={split}/label={label}/part-0.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(images, path)
    read = found("parquet", tmp_path)
    assert read.classes == ["cat", "ice cream"] and read.sizes() == {"train": 4, "test": 4}
    assert read.findings.counts == {split: {"cat": 2, "ice cream": 2} for split in ("train", "test")}


def test_an_unknown_partition_is_named_and_can_be_chosen(tmp_path: Path) -> None:
    for i, name in enumerate(("oak", "fir")):
        path = tmp_path / f"species={name}/part-{i}.parquet"
        path.parent.mkdir()
        pq.write_table(pa.table({"image": [picture(i)]}), path)
    assert "species" in found("parquet", tmp_path).findings.hints[0]
    assert found("parquet", tmp_path, label_column="species").classes == ["fir", "oak"]


@pytest.mark.parametrize("unknown", [-1, None])
@pytest.mark.parametrize("validation", [True, False])
def test_a_test_split_without_labels_does_not_judge(tmp_path: Path, unknown: Any, validation: bool) -> None:
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", [0, 1, 2] * 4)
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", pa.array([unknown] * 5, pa.int64()))
    if validation:
        write_parquet(tmp_path / "data/validation-00000-of-00001.parquet", [0, 1, 2])
    read = found("parquet", tmp_path)
    assert read.broken == []
    assert read.sizes() == ({"train": 12, "test": 3} if validation else {"": 12})
    judge = "validation" if validation else "data.test_fraction of the training images"
    assert read.findings.hints == (f"the split test has no labels and is not used; {judge} serves as test.",)


def test_a_set_without_any_labels_keeps_its_test_split(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", "train/2.png", "test/3.png")
    read = found("folder", tmp_path)
    assert read.sizes() == {"train": 2, "test": 1} and read.findings.hints == ()


# --- metadata files --------------------------------------------------------------------------------------------------


def test_metadata_csv_in_each_split(tmp_path: Path) -> None:
    for split, n in (("train", 4), ("test", 2)):
        write(tmp_path, *(f"{split}/{i:04}.png" for i in range(n)))
        lines = [f"{i:04}.png,{i % 2}" for i in range(n)]
        (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    read = found("folder", tmp_path)
    assert read.classes is None and read.labels("train") == [0, 1, 0, 1] and read.sizes() == {"train": 4, "test": 2}
    assert read.findings.passed_over == () and read.findings.counts == {"train": {"0": 2, "1": 2}, "test": {"0": 1, "1": 1}}
    first = read.source.fingerprint
    (tmp_path / "train/metadata.csv").write_text("file_name,label\n0000.png,1\n0001.png,1\n")
    again = found("folder", tmp_path)
    assert again.source.fingerprint != first and len(again.broken) == 2  # images without an entry have no label


def test_images_that_metadata_name_and_nobody_finds_are_told(tmp_path: Path) -> None:
    write(tmp_path, "1.png", "sub/2.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,x\nsub\\2.png,y\nIMG_3.PNG,x\n")
    read = found("folder", tmp_path)
    assert read.labels() == ["x", "y"]
    assert read.findings.hints == ("not there: 1 of the images in metadata.csv, such as IMG_3.PNG.",)


def test_metadata_jsonl_at_the_root_names_files_below(tmp_path: Path) -> None:
    write(tmp_path, "images/a.png", "images/b.png", "c.png")
    rows = [{"file_name": "images/a.png", "category": "x", "id": 1}, {"file_name": "./images/b.png", "category": "y"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"file_name": "c.png", "category": "x"}])))
    read = found("folder", tmp_path)
    assert {key: label for key, label in read.rows[""].items()} == {"images/a.png": "x", "images/b.png": "y", "c.png": "x"}


def test_metadata_without_labels_is_told(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "metadata.csv").write_text("file_name,caption\ncat/1.png,a cat\ndog/1.png,a dog\n")
    read = found("folder", tmp_path)
    assert read.labels() == ["cat", "dog"]
    assert read.findings.hints == ("metadata.csv: no column is known to hold labels; these may: caption (options.label_column).",)
    assert found("folder", tmp_path, label_column="caption").labels() == ["a cat", "a dog"]


def test_a_table_beside_images_without_labels_is_named(tmp_path: Path) -> None:
    write(tmp_path, "images/1.png", "images/2.png")
    (tmp_path / "labels.csv").write_text("file,label\nimages/1.png,1\n")
    read = found("folder", tmp_path)
    assert read.findings.hints == (f"no labels; labels.csv may hold them: data.name=table data.root={tmp_path}/labels.csv.",)


@pytest.mark.parametrize("content", [b"file_name,label\n1.png,caf\xe9\n", b"file_name,label\n1.png\n", b"", b"\xff\xfe"])
def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "1.png")
    (tmp_path / "metadata.csv").write_bytes(content)
    for name, root in (("folder", tmp_path), ("table", tmp_path / "metadata.csv")):
        with pytest.raises(InputError, match=r"metadata\.csv: ") as error:
            found(name, root)
        assert "\n" not in str(error.value)


def test_labels_of_a_table_with_gaps(tmp_path: Path) -> None:
    write(tmp_path, *(f"{i}.png" for i in range(4)))
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.png,1\n1.png,\n2.png,0\n3.png,-1\n")
    read = found("folder", tmp_path)
    assert read.rows[""] == {"2.png": 0, "0.png": 1} and [row.reason for row in read.broken] == ["no label"] * 2


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InputError, match=r"train\.parquet: is a pointer of git-lfs"):
        found("parquet", tmp_path)


def test_class_names_that_come_twice_in_a_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1, 2], ["crane", "oak", "crane"])
    read = found("parquet", tmp_path)
    assert read.classes == ["crane", "oak", "crane (2)"] == read.labels() and read.broken == []


def test_columns_that_come_twice_are_told(tmp_path: Path) -> None:
    columns = [pa.array([picture()]), pa.array([0]), pa.array([1])]
    pq.write_table(pa.Table.from_arrays(columns, ["image", "label", "label"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: has two columns 'label'"):
        found("parquet", tmp_path)


def test_damaged_pages_are_told_with_the_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [0, 1, 1])
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[10:60] = bytes(50)
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read: "):
        found("parquet", tmp_path)


@pytest.mark.parametrize("column", ["label", "Class Name"])
def test_names_of_digits_stay_as_they_are_written(tmp_path: Path, column: str) -> None:
    write(tmp_path, *(f"{i}.png" for i in range(3)))
    for name, root in (("folder", tmp_path), ("table", tmp_path / "metadata.csv")):
        for texts, labels in (
            (["007", "7", "010"], ["007", "7", "010"]),
            (["1e5", "2e3", "5"], ["1e5", "2e3", "5"]),
            (["1.0", "NaN", "0.0"], [1, 0]),
            (["NA", "1", "0"], [1, 0]),
        ):
            lines = [f"{i}.png,{text}" for i, text in enumerate(texts)]
            (tmp_path / "metadata.csv").write_text("\n".join([f"file_name,{column}", *lines]))
            assert sorted(found(name, root).labels(), key=str) == sorted(labels, key=str)
        (tmp_path / "metadata.csv").write_text(f"file_name,{column}\n0.png,1\n1.png,2.5\n2.png,inf\n")
        with pytest.raises(InputError, match=rf"'{column}' holds 2\.5; expected whole numbers or text"):
            found(name, root)


def test_infinity_is_no_label(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [1.0, float("inf"), 0.0])
    read = found("parquet", tmp_path)
    assert read.labels() == [1, 0] and [row.reason for row in read.broken] == ["label inf is not a whole number"]


def test_a_coordinate_is_no_label(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ["oak", "fir"], column="species", x=[3, 4], y=[5, 6])
    read = found("parquet", tmp_path)
    assert read.labels() == [None, None] and "these may: species, x, y" in read.findings.hints[0]


def test_columns_of_splits_that_are_not_used_are_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "parquet/a.parquet", [0, 1], split=["train", "test"])
    write(tmp_path / "folder", "1.png", "2.png")
    (tmp_path / "folder/metadata.csv").write_text("file_name,label,split\n1.png,0,train\n2.png,1,test\n2.png,0,test\n")
    told = found("folder", tmp_path / "folder").findings.hints
    assert found("parquet", tmp_path / "parquet").findings.hints + told == (
        "column split is not used: splits are read from the names of files and folders.",
        "metadata.csv: column split is not used: splits are read from the names of files and folders.",
        "metadata.csv: 1 images have several labels, of which the last counts, such as 2.png.",
    )
