"""Reading originals: the same bytes, from wherever they are, in order; changed ones are refused."""

import random
import threading

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from originals_on_disk import as_files, as_parquet, as_tar, picture, rows_of
from s3_server import S3Server

from dsopt.data.subsets import originals, parquet_rows, remote
from dsopt.data.subsets.originals import Original, places, read, read_originals
from dsopt.errors import InputError
from dsopt.files import write_bytes, write_table
from dsopt.storage import content_digest

LAYOUTS = {"files": as_files, "tar": as_tar, "parquet": as_parquet}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bytes_in_the_order_asked_for(layout: str, storage: str) -> None:
    found = LAYOUTS[layout](f"{storage}/pictures", range(40))
    ids = [*random.Random(0).sample(range(40), 25), 7, 7]
    wanted = [places(rows_of({id: found[id]}))[0] for id in ids]
    assert read(wanted) == [picture(id) for id in ids]
    assert list(read_originals(wanted, memory=200)) == [picture(id) for id in ids]


def test_another_scheme_of_fsspec() -> None:
    fsspec.filesystem("memory").pipe({f"/pictures/{id}.png": picture(id) for id in range(5)})
    found = {id: {"uri": f"memory://pictures/{id}.png"} for id in range(5)}
    assert read(places(rows_of(found))) == [picture(id) for id in range(5)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_changed_original_is_refused_by_its_key(layout: str, storage: str) -> None:
    found = LAYOUTS[layout](f"{storage}/pictures", range(4))
    rows = rows_of(found, digest="0" * 32)
    with pytest.raises(InputError, match=r"picture 0: .* has changed since it was ingested"):
        read(places(rows))


def test_a_shorter_and_a_lost_file(storage: str) -> None:
    (place,) = as_tar(f"{storage}/pictures", range(1)).values()
    wanted = places(rows_of({0: place}))
    write_bytes(place["uri"], b"short")
    with pytest.raises(InputError, match=r"picture 0: .* has changed"):
        read(wanted)
    with pytest.raises(InputError, match=r"picture 0: its original is no longer at .*gone\.png"):
        read(places(rows_of({0: {"uri": f"{storage}/gone.png"}})))


def test_only_row_groups_with_wanted_rows_are_read(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, groups = as_parquet(str(tmp_path), range(40), group_rows=5), []
    plain = parquet_rows._of_group
    monkeypatch.setattr(parquet_rows, "_of_group", lambda file, number, *rest: groups.append(number) or plain(file, number, *rest))
    read(places(rows_of({id: found[id] for id in (12, 13, 33)})))
    assert set(groups) == {2, 6}


def test_near_ranges_are_read_as_one_and_far_ones_are_not() -> None:
    def spans(*ranges: tuple[int, int]) -> list[tuple[int, int]]:
        wanted = [Original("", "a.tar", start, length, None, None, length) for start, length in ranges]
        return [(span.start, span.stop) for span in originals._spans(wanted)]

    assert spans((512, 10_000), (11_000, 10_000)) == [(512, 21_000)]
    assert spans((512, 10_000), (100_000, 10_000)) == [(512, 10_512), (100_000, 110_000)]
    assert spans((0, 100), (0, 100)) == [(0, 100)]


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 400)), min_size=1, max_size=40), st.randoms())
@settings(deadline=None)
def test_any_ranges(tmp_path_factory: pytest.TempPathFactory, ranges: list[tuple[int, int]], rng: random.Random) -> None:
    content = rng.randbytes(3400)
    file = tmp_path_factory.mktemp("ranges") / "file"
    file.write_bytes(content)
    wanted = [Original(str(i), str(file), start, length, None, None, length) for i, (start, length) in enumerate(ranges)]
    assert read(wanted) == [content[start : start + length] for start, length in ranges]
    spanned = sum(span.stop - span.start for span in originals._spans(wanted))  # type: ignore[operator]
    union = set().union(*(range(start, start + length) for start, length in ranges))
    assert spanned <= 1.125 * len(union)


def test_memory_is_bounded_by_bytes_and_closing_early_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, lock = [], threading.Lock()

    def slowly(wanted: list[Original]) -> list[bytes]:
        with lock:
            taken.append(sum(one.size for one in wanted))
        return [b"x"] * len(wanted)

    monkeypatch.setattr(originals, "read", slowly)
    endless = (Original("", "a", None, None, None, None, 100) for _ in iter(int, 1))
    given_out = read_originals(endless, memory=3000)
    assert next(given_out) == b"x" and sum(taken) <= 3000
    given_out.close()


def test_rows_of_gigabytes_are_read_in_small_batches(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_rows, "BATCH_BYTES", 200)
    found = as_parquet(str(tmp_path), range(50), group_rows=50)
    assert read(places(rows_of({id: found[id] for id in (0, 17, 49)}))) == [picture(id) for id in (0, 17, 49)]


@pytest.mark.long
@pytest.mark.slow
def test_a_store_that_is_away_is_waited_for(s3: S3Server, s3_storage: str) -> None:
    found = as_files(s3_storage, range(6)) | {6 + i: place for i, place in as_parquet(s3_storage, range(6)).items()}
    rows = pa.concat_tables([rows_of({id: found[id]}, digest=content_digest(picture(id % 6))) for id in found])
    assert len(read(places(rows))) == 12
    with s3.outage(4):
        assert read(places(rows)) == [picture(id) for id in (*range(6), *range(6))]


def test_an_unknown_scheme_is_one_line() -> None:
    with pytest.raises(InputError, match="nowhere"):
        remote.file_system("nowhere://a/b")


def test_a_column_is_found_by_its_digest(tmp_path) -> None:
    rows = [{"image": b"a depth map", "view": picture(3)}]
    write_table(f"{tmp_path}/two.parquet", pa.Table.from_pylist(rows))
    assert read(places(rows_of({3: {"uri": f"{tmp_path}/two.parquet", "row": 0}}))) == [picture(3)]
