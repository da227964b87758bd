import functools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from dsopt.config import DataConfig
from dsopt.data.sets.parquet import find_files
from dsopt.data.sources import tars
from dsopt.data.sources.layout import check_named, decide_splits, named_split, split_word, told
from dsopt.data.sources.listing import File, Skipped, digest, needed_root, passed_over
from dsopt.data.sources.source import SHARD_ROWS, Findings, Listing, Place, Shard, Source, SourceRow
from dsopt.data.sources.tars import Index, Sample, kept_index
from dsopt.errors import InputError
from dsopt.files import filesystem, is_remote, join
from dsopt.registry import DATASETS

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
SPAN_BYTES = 8 << 20  # consecutive images are read together, up to so many bytes
SHOWN = 10  # names in a hint
GAP_BYTES = 64 << 10  # bytes between two images that are read and dropped rather than asked for anew


@DATASETS.register
def webdataset(data: DataConfig, *, image_column: str | None = None, label_column: str | None = None) -> Source:
    """Tar shards as WebDataset writes them: a file, a folder or a glob; members of one key are an image and its cls or json."""
    root = needed_root(data)
    base, files, skipped = find_files(_globbed(root), (".tar",))
    if not files:
        more = next((one.name for one in skipped if one.name.lower().endswith(COMPRESSED)), None)
        raise InputError(
            f"data.root={root}: no tar files there (*.tar)."
            + (f" {more} is compressed, and cannot be read in part: decompress it." if more else "")
        )
    check_named(root, {named_split(file.name): file.name for file in files})
    find = functools.partial(_indices, base, tuple(files), image_column, label_column)
    return Source(
        digest(files), is_remote(base), functools.partial(_list_shards, base, find), functools.partial(_look, find, skipped)
    )


def _globbed(root: str) -> str:
    """WebDataset's braces, shard-{000000..000099}.tar, as a glob."""
    return re.sub(r"\{(\d+)\.\.(\d+)\}", lambda match: "?" * len(match[1]) if len(match[1]) == len(match[2]) else "*", root)


Found = dict[str, tuple[str | None, Index]]  # the name of each tar -> its split and its index


@functools.lru_cache(maxsize=2)
def _indices(base: str, files: tuple[File, ...], image: str | None, label: str | None) -> tuple[Found, set[str | None]]:
    """The index of every tar, and the splits without labels."""
    with ThreadPoolExecutor(8) as pool:  # on an object store the headers cost many requests
        indices = list(pool.map(lambda file: kept_index(join(base, file.name), file.size, file.version, image, label), files))
    found = {file.name: (named_split(file.name), index) for file, index in zip(files, indices, strict=True)}
    splits = {split for split, _ in found.values()}
    labelled = {split for split, index in found.values() if any(_known(sample.label) for sample in index.samples)}
    return found, splits - labelled if len(splits) > 1 else set()


def _known(label: int | str | None) -> bool:
    return label is not None and (isinstance(label, str) or label >= 0)


def _list_shards(base: str, find: "functools.partial[tuple[Found, set[str | None]]]") -> Listing:
    found, unlabelled = find()
    uses = decide_splits({split for split, _ in found.values()}, unlabelled)
    used = [(uses[split], name, index) for name, (split, index) in found.items() if split in uses]
    used.sort(key=lambda one: one[0] == "test")
    labels = {sample.label for _, _, index in used for sample in index.samples if _known(sample.label)}
    texts = sorted(label for label in labels if isinstance(label, str))
    if texts and len(texts) < len(labels) and all(map(str.isdecimal, texts)):  # names such as 007, 008 and 010
        used = [(use, name, index._replace(samples=tuple(map(_as_text, index.samples)))) for use, name, index in used]
        texts = sorted({str(label) for label in labels})
    elif texts and len(texts) < len(labels):
        raise InputError(f"{base}: some labels are numbers, others are text, such as {texts[0]!r}; they must be one kind.")
    shards, first_id = [], 0
    for use, name, index in used:
        for start in range(0, len(index.samples), SHARD_ROWS):
            rows = TarRows(join(base, name), name, index.samples[start : start + SHARD_ROWS])
            shards.append(Shard(use, first_id + start, rows, len(rows.samples), labelled=bool(labels), labels=rows.labels))
        first_id += len(index.samples)
    if not shards:
        raise InputError(f"{base}: the tar files hold no images.")
    return shards, texts or None


def _as_text(sample: Sample) -> Sample:
    return sample._replace(label=str(sample.label)) if _known(sample.label) else sample


def _look(find: "functools.partial[tuple[Found, set[str | None]]]", skipped: list[Skipped]) -> Findings:
    found, unlabelled = find()
    indices = [index for _, index in found.values()]
    missing = [Skipped(f"{name}/{one.name}", one.reason) for name, (_, index) in found.items() for one in index.skipped]
    hints = [f"{name} {index.end}." for name, (_, index) in found.items() if index.end]
    hints += told({split for split, _ in found.values()}, unlabelled)
    if others := sorted({f for i in indices for f in i.fields if tars.is_image(f)} - {e for i in indices for e in i.extensions}):
        some = ", ".join(others[:SHOWN]) + f" and {len(others) - SHOWN:,} more" * (len(others) > SHOWN)
        dots = "; a key ends at the first dot of a name" * any(name.partition(".")[0].isdecimal() for name in others)
        hints.append(f"samples have several images; not used: {some} (options.image_column){dots}.")
    samples = [sample for index in indices for sample in index.samples]
    named = {word for sample in samples for part in sample.key.split("/")[:-1] if (word := split_word(part))}
    if len(named) > 1:
        hints.append(
            f"folders in tar files name the splits {' and '.join(sorted(named))}, which only names of tar files do: unpack them."
        )
    if not any(_known(sample.label) for sample in samples):
        fields = sorted(set().union(*(index.fields for index in indices)) - {e for index in indices for e in index.extensions})
        folders = sorted({sample.key.rpartition("/")[0] for sample in samples})
        if fields:
            hints.append(f"no member is known to hold labels; these are there: {', '.join(fields[:SHOWN])} (options.label_column).")
        elif len(folders) > 1:
            hints.append(f"no labels; members lie in folders, such as {folders[-1]}: unpack them if these are classes.")
        else:
            hints.append("no labels; expected members such as 0001.cls beside 0001.jpg, or a key label in 0001.json.")
    return Findings(passed_over([*skipped, *missing]), tuple(hints))


@dataclass(frozen=True)
class TarRows:
    """Some samples of one tar, in their order."""

    uri: str
    name: str
    samples: tuple[Sample, ...]

    def __call__(self) -> Iterator[SourceRow]:
        system, path = filesystem(self.uri)
        with system.open_input_file(path) as file:
            for some in spans(self.samples):
                start = some[0].offset
                data = file.read_at(some[-1].offset + some[-1].length - start, start)
                for key, offset, length, label in some:
                    place = Place(self.uri, offset, length)
                    yield SourceRow(data[offset - start : offset - start + length], label, f"{self.name}/{key}", place)

    def labels(self) -> pa.Array:
        return pa.array([sample.label for sample in self.samples])


def spans(samples: tuple[Sample, ...]) -> Iterator[list[Sample]]:
    """Samples that lie close together, to be read at once."""
    some: list[Sample] = []
    for sample in samples:
        end = some[-1].offset + some[-1].length if some else 0
        if some and (
            sample.offset - end > GAP_BYTES or sample.offset < end or sample.offset + sample.length - some[0].offset > SPAN_BYTES
        ):
            yield some
            some = []
        some.append(sample)
    if some:
        yield some
