"""A chosen tenth of tar shards behind a slow link: `stream_subset` against reading all shards and dropping the rest.

    python tests/benchmarks/bench_stream_subset.py --images 2000 --rate 8

The shards lie on a real S3 server behind a link of `--rate` MB/s; what passes over it is counted there. Both ways give the files'
bytes in memory; nothing is decoded. `--local` reads the same shards from this machine's disk, with `webdataset` beside it if it
is installed.
"""

import argparse
import hashlib
import io
import os
import random
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import boto3
import pyarrow as pa
import s3fs
from s3_server import S3Server
from slow_link import SlowLink

from dsopt.data.subsets.originals import places, read_originals
from dsopt.data.subsets.streaming import StreamedSubset, stream_subset
from dsopt.files import write_bytes, write_table
from dsopt.storage import SUBSET, Kind, Stage, content_digest


def write_shards(root: str, images: int, shard: int, share: float) -> pa.Table:
    """Tar shards of files of 20 to 120 KB with a label each, and the index of the chosen ones."""
    rng, rows = random.Random(0), []
    for start in range(0, images, shard):
        sink, uri = io.BytesIO(), f"{root}/{start // shard:05d}.tar"
        with tarfile.open(fileobj=sink, mode="w") as tar:
            for id in range(start, min(start + shard, images)):
                data = rng.randbytes(rng.randint(20_000, 120_000))
                for suffix, content in (("jpg", data), ("cls", b"0")):
                    info = tarfile.TarInfo(f"{id:08d}.{suffix}")
                    info.size = len(content)
                    offset = sink.tell() + tarfile.BLOCKSIZE
                    tar.addfile(info, io.BytesIO(content))
                    if suffix == "jpg" and rng.random() < share:
                        place = {"uri": uri, "offset": offset, "length": len(data), "digest": content_digest(data)}
                        rows.append(dict.fromkeys(SUBSET.names) | {"id": id, "key": f"{id:08d}", "label": 0} | place)
        write_bytes(uri, sink.getvalue())
    return pa.Table.from_pylist(rows, pa.schema([field for field in SUBSET if field.name != "image"]))


def index(storage: str, rows: pa.Table) -> str:
    """A subset that holds only an index, as `select.content=none` writes it."""
    stage, part = Stage(storage, Kind("select"), "shards", {}), {"path": "data/part-00000.parquet", "rows": len(rows), "bytes": 0}
    write_table(stage.path(part["path"]), rows)
    stage.commit([part], SUBSET, seconds=0, files=[part], content="none", classes=None, num_classes=1, channels=3, image_size=32)
    return stage.uri


def streamed(uri: str) -> Iterator[bytes]:
    """The bytes that `stream_subset` reads, in its shuffled order, before they are opened as pictures."""
    stream: StreamedSubset = stream_subset(uri)
    return read_originals(places(stream._rows.take(stream.order())))


def filtered(opened: Callable[[str], io.BufferedIOBase], rows: pa.Table, shards: list[str]) -> Iterator[bytes]:
    """All shards read from end to end, and the chosen files kept: what a loader of tar shards does."""
    chosen = set(rows["key"].to_pylist())
    for uri in shards:
        with opened(uri) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                data = content.read()
                if member.name.endswith(".jpg") and member.name.removesuffix(".jpg") in chosen:
                    yield data


def timed(files: Iterator[bytes], passed: Callable[[], int]) -> tuple[float, int, str]:
    """Seconds, bytes over the link, and what was read."""
    before, started = passed(), time.perf_counter()
    found = sorted(hashlib.sha256(data).hexdigest() for data in files)
    return time.perf_counter() - started, passed() - before, hashlib.sha256("".join(found).encode()).hexdigest()


def with_webdataset(shards: list[str], rows: pa.Table) -> Iterator[bytes] | None:
    try:
        import webdataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    chosen = set(rows["key"].to_pylist())
    return (sample["jpg"] for sample in webdataset.WebDataset(shards, shardshuffle=False) if sample["__key__"] in chosen)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--shard", type=int, default=500, help="images of a shard")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rate", type=float, default=8.0, help="MB/s")
    parser.add_argument("--local", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder) / "s3")
        os.environ.update(server.env)
        if not arguments.local:
            server.start()
        try:
            compare(arguments, folder, server)
        finally:
            server.remove()


def compare(arguments: argparse.Namespace, folder: str, server: S3Server) -> None:
    root = folder if arguments.local else "s3://dsopt"
    if not arguments.local:
        boto3.client("s3").create_bucket(Bucket="dsopt")
    rows = write_shards(f"{root}/shards", arguments.images, arguments.shard, arguments.share)
    shards = [f"{root}/shards/{i:05d}.tar" for i in range(-(-arguments.images // arguments.shard))]
    uri, wanted = index(folder, rows), sum(rows["length"].to_pylist())
    link = None if arguments.local else SlowLink(int(server.env["AWS_ENDPOINT_URL"].rpartition(":")[2]), arguments.rate * 1e6)
    if link:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{link.port}"
    passed = (lambda: link.passed) if link else (lambda: 0)
    opened = partial(open, mode="rb") if arguments.local else s3fs.S3FileSystem().open
    ways = {"stream_subset": streamed(uri), "all shards, filtered": filtered(opened, rows, shards)}
    if arguments.local and (other := with_webdataset(shards, rows)):
        ways["webdataset, filtered"] = other
    print(f"{len(rows):,} of {arguments.images:,} images chosen, {wanted / 1e6:.1f} MB")
    results = {name: timed(files, passed) for name, files in ways.items()}
    assert len({found for _, _, found in results.values()}) == 1, "the ways read different files"
    for name, (seconds, count, _) in results.items():
        print(f"{name:<22} {seconds:7.2f} s  {count / 1e6:8.1f} MB read, {count / wanted:5.2f} of the chosen")
    (ours, read, _), (theirs, _, _) = results["stream_subset"], results["all shards, filtered"]
    print(f"time: {ours / theirs:.2f} of reading all" + (f"; read {read / wanted:.2f} of the chosen bytes" if link else ""))


if __name__ == "__main__":
    main()
