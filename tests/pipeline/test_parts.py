"""A stage made part by part: what was interrupted resumes with the parts that are left."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dsopt.errors import InputError, JobError
from dsopt.files import list_files, read_bytes, read_table
from dsopt.pipeline.parts import Journal, item_by_item, write_part
from dsopt.storage import Kind, Stage

ROWS = pa.table({"id": pa.array(range(5), pa.int64())})


@pytest.fixture
def made(tmp_path: Path) -> Stage:
    return Stage(str(tmp_path), Kind("toy"), "items", {})


def items(asked: list[list[int]], stop: int | None = None) -> Callable[[list[int]], Iterator[dict[str, Any]]]:
    """Gives the square of every item, the last first; dies before the item `stop`."""

    def stream(indices: list[int]) -> Iterator[dict[str, Any]]:
        asked.append(indices)
        for index in indices[::-1]:
            if index == stop:
                raise JobError("interrupted")
            yield {"index": index, "square": index**2}

    return stream


def test_items_resume_where_they_were(made: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[list[int]] = []
    with pytest.raises(JobError):
        item_by_item("toy", made, [10, 20, 30, 40], "rows", items(asked, stop=1))
    entries, seconds = item_by_item("toy", made, [10, 20, 30, 40], "rows", items(asked))
    assert asked == [[0, 1, 2, 3], [0, 1]]
    assert [entry["square"] for entry in entries] == [0, 1, 4, 9]
    assert seconds >= max(entry["seconds"] for entry in entries)  # those of the first attempt are counted
    assert "resumes after 70 rows of an interrupted run" in capsys.readouterr().out
    again, _ = item_by_item("toy", made, [10, 20, 30, 40], "rows", items(asked))
    assert again == entries and len(asked) == 2


def test_a_journal_of_other_items_is_refused(made: Stage) -> None:
    item_by_item("toy", made, [1, 1, 1], "rows", items([]))
    with pytest.raises(InputError, match="remove the folder"):
        item_by_item("toy", made, [1, 1], "rows", items([]))


def test_items_that_are_not_made_are_told(made: Stage) -> None:
    with pytest.raises(JobError, match=r"only 2 of 3 items were finished"):
        item_by_item("toy", made, [1, 1, 1], "rows", lambda indices: ({"index": index} for index in indices[:2]))


def test_a_journal_is_read_in_order_and_kept_with_the_stage(made: Stage) -> None:
    journal = Journal(made)
    assert list(journal) == []
    for index in (11, 2):
        journal.add(index, {"seconds": 0.5, "of": index})
    assert [entry["of"] for entry in Journal(made)] == [2, 11]
    assert all(name.startswith("_journal/") for name in list_files(made.uri))


def test_a_part_has_a_name_by_its_index_and_is_written_over(made: Stage) -> None:
    entry = write_part(made, 3, ROWS)
    assert entry == {"path": "data/part-00003.parquet", "rows": 5, "bytes": list_files(made.uri)["data/part-00003.parquet"]}
    first = read_bytes(made.path(entry["path"]))
    assert write_part(made, 3, ROWS) == entry and read_bytes(made.path(entry["path"])) == first
    assert write_part(made, 3, ROWS, "test") | {"bytes": 0} == {
        "path": "data/test-00003.parquet", "rows": 5, "bytes": 0, "split": "test"
    }  # fmt: skip
    assert read_table(made.path("data/test-00003.parquet")).equals(ROWS)


def test_no_file_is_written_for_a_part_without_rows(made: Stage) -> None:
    assert write_part(made, 0, ROWS.slice(0, 0)) == {"path": "data/part-00000.parquet", "rows": 0, "bytes": 0}
    assert not list_files(made.uri)
