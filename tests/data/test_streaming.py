"""A streamed subset: every image once an epoch, for any ranks and workers; a resumed epoch is the undisturbed one."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from originals_on_disk import as_files, as_parquet, as_tar, index_of
from torch.utils.data import DataLoader

import dsopt
from dsopt.data.subsets.streaming import StreamedSubset
from dsopt.errors import InputError

N = 61


def id_of(picture: Any) -> int:
    """The pictures tell their ids by their widths."""
    return picture.size[0] - 1


def flat(lists: list[list[int]]) -> list[int]:
    return [one for some in lists for one in some]


@pytest.fixture(scope="module")
def subset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index of files, a tar shard, and rows of a Parquet file."""
    root = str(tmp_path_factory.mktemp("pictures"))
    places = as_files(root, range(20)) | as_tar(root, range(20, 40)) | as_parquet(root, range(40, N))
    return index_of(f"{root}/storage", places)


def stream(subset: str, **settings: Any) -> StreamedSubset:
    return dsopt.stream_subset(subset, **{"transform": id_of, "batch_size": 4} | settings)


def positions(one: StreamedSubset, workers: int = 1) -> list[int]:
    """What a DataLoader with so many workers would give, batch by batch, without its processes and without reading."""
    order, steps = one.order(), list(one._steps())
    queues = [[p for step in steps[worker::workers] for p in step] for worker in range(workers)]
    batches = [[queue[i : i + one.batch_size] for i in range(0, len(queue), one.batch_size)] for queue in queues]
    turns = range(max(map(len, batches), default=0))
    return [int(order[p]) for turn in turns for of_worker in batches if turn < len(of_worker) for p in of_worker[turn]]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 7), st.booleans(), st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_every_image_exactly_once_an_epoch(subset: str, world: int, workers: int, batch: int, shuffle: bool, epoch: int) -> None:
    seen, lengths = [], []
    for rank in range(world):
        one = stream(subset, rank=rank, world=world, batch_size=batch, shuffle=shuffle, seed=3)
        one.set_epoch(epoch)
        mine = positions(one, workers)
        assert len(one) == len(mine)
        seen += mine
        lengths.append(len(mine))
    assert sorted(seen) == list(range(N)) and max(lengths) - min(lengths) <= 1


@pytest.mark.slow
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.data())
@settings(deadline=None, max_examples=40)
def test_a_resumed_epoch_is_the_undisturbed_one(
    subset: str, world: int, workers: int, batch: int, new_world: int, new_workers: int, new_batch: int, data: st.DataObject
) -> None:
    whole = positions(stream(subset, world=1, rank=0))
    batches = data.draw(st.integers(0, N // (world * batch)))
    before = [stream(subset, rank=rank, world=world, batch_size=batch) for rank in range(world)]
    consumed = [positions(one, workers)[: batches * batch] for one in before]
    states = [one.state_dict(batches=batches) for one in before]
    assert all(state == states[0] for state in states)
    assert sorted(flat(consumed)) == sorted(whole[: world * batches * batch])
    after = [stream(subset, rank=rank, world=new_world, batch_size=new_batch) for rank in range(new_world)]
    for one in after:
        one.load_state_dict(states[0])
        one.set_epoch(states[0]["epoch"])  # as a loop over epochs does
    rest = [positions(one, new_workers) for one in after]
    assert sorted(flat(rest) + flat(consumed)) == list(range(N))
    if new_world == 1:
        assert rest[0] == whole[len(whole) - len(rest[0]) :]


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "method"), [(1, "fork"), (3, "fork"), (1, "spawn")])  # a spawned one takes 4 s to start
def test_a_data_loader_gives_the_epoch_in_order(subset: str, workers: int, method: str) -> None:
    one = stream(subset)
    loader = DataLoader(one, batch_size=4, num_workers=workers, multiprocessing_context=method, persistent_workers=True)
    for epoch in (0, 1):
        one.set_epoch(epoch)
        found = [batch.tolist() for batch, _ in loader]
        assert flat(found) == [int(i) for i in one.order()]
    one.set_epoch(2)
    iterator = iter(loader)
    first = [next(iterator)[0].tolist() for _ in range(5)]
    with pytest.raises(InputError, match="batches"):
        one.state_dict()
    state = one.state_dict(batches=5)
    again = stream(subset)
    again.load_state_dict(state)
    rest = [batch.tolist() for batch, _ in DataLoader(again, batch_size=4)]
    assert flat(first + rest) == [int(i) for i in again.order()]


def test_pictures_and_labels(subset: str) -> None:
    one = stream(subset, transform=None)
    for i, (picture, label) in zip(one.order(), one, strict=True):
        assert id_of(picture) == i and picture.format == "PNG" and label == i % 2
    assert one.classes == ["even", "odd"]


def test_without_workers_images_are_counted(subset: str) -> None:
    one = stream(subset)
    iterator = iter(one)
    first = [next(iterator)[0] for _ in range(7)]
    state = one.state_dict()
    assert state["consumed"] == 7
    again = stream(subset)
    again.load_state_dict(state)
    assert first + [id for id, _ in again] == [id for id, _ in stream(subset)]
    halfway = stream(subset, rank=0, world=2)
    next(iter(halfway))
    with pytest.raises(InputError, match="no whole number of batches of 4"):
        halfway.state_dict()


def test_orders_differ_by_epoch_and_seed_alone(subset: str) -> None:
    one, other = stream(subset), stream(subset, seed=1)
    first = one.order().tolist()
    assert first == stream(subset).order().tolist() != other.order().tolist()
    one.set_epoch(1)
    assert sorted(one.order().tolist()) == sorted(first) and one.order().tolist() != first
    assert stream(subset, shuffle=False).order().tolist() == list(range(N))


def test_what_cannot_be(subset: str) -> None:
    with pytest.raises(InputError, match="rank=3, world=2"):
        stream(subset, rank=3, world=2)
    state = stream(subset).state_dict()
    with pytest.raises(InputError, match="the state is of"):
        stream(subset, seed=9).load_state_dict(state)


def test_drop_last_gives_all_ranks_whole_batches(subset: str) -> None:
    lengths = {len(stream(subset, rank=rank, world=4, batch_size=4, drop_last=True)) for rank in range(4)}
    assert lengths == {12}


@pytest.mark.slow
def test_forked_workers_read_from_s3(s3_storage: str) -> None:
    places = as_tar(s3_storage, range(20)) | as_parquet(s3_storage, range(20, 40))
    one = stream(index_of(s3_storage, places))
    assert next(iter(one))[0] == one.order()[0]  # this process has connections of its own
    loader = DataLoader(one, batch_size=4, num_workers=2, multiprocessing_context="fork")
    assert flat([batch.tolist() for batch, _ in loader]) == one.order().tolist()


def _rank(rank: int, subset: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    one = dsopt.stream_subset(subset, transform=id_of, batch_size=4)
    loader = DataLoader(one, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    torch.save([int(id) for batch, _ in loader for id in batch], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.long
@pytest.mark.slow
def test_ranks_are_those_of_torch_distributed(subset: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_rank, args=(rank, subset, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert sorted(found[0] + found[1]) == list(range(N)) and len(found[0]) - len(found[1]) in (-1, 0, 1)


def test_rows_of_a_parquet_file_stay_together(tmp_path: Path) -> None:
    one = stream(index_of(f"{tmp_path}/storage", as_parquet(str(tmp_path), range(200))))
    order = one.order()
    assert sorted(order.tolist()) == list(range(200)) and order.tolist() != list(range(200))
