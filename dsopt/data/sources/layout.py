"""What the names of folders and files mean: splits and classes. Pure functions on names, the same for every kind of file."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from dsopt.data.sources import kinds
from dsopt.data.sources.labels import LABEL_COLUMNS, loosely
from dsopt.errors import InputError

# The Hugging Face hub's words, as a word of its own: seg_train, training_set, train2017, train-00000-of-00002.
_SPLIT = re.compile(
    r"(?<![a-z])(?:(?P<train>train(?:ing|val)?)|(?P<test>test(?:ing)?|eval(?:uation)?)|(?P<validation>val(?:id(?:ation)?)?|dev(?:elopment)?))"
    r"(?:set|data|images?|imgs?|split)?(?![a-z])",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")  # PublicTest
_FILLING = re.compile(r"[\W_\d]|(?<![a-z])(?:set|data|images?|imgs?|split|folder)(?![a-z])", re.IGNORECASE)
_FIRST_SHARD = re.compile(r"-0+-of-\d+(?=\.)")  # the hub numbers all shards of a split
_RESOLUTION = re.compile(r"\d+(x\d+|px)", re.IGNORECASE)
_NO_CLASS = re.compile(
    r"(jpeg)?ima?ge?s?|masks?|annotations?|segmentations?|segmentation(class|object)|thumb(nail)?s?|previews?|originals?"
    r"|(images|labels)t[rs]",
    re.IGNORECASE,
)  # folders by what files are, not by what they show
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

Folders = tuple[str, ...]


def normal(name: str) -> str:
    """A name in NFC: the same name may come composed (Linux) or decomposed (macOS)."""
    return unicodedata.normalize("NFC", name)


def split_word(name: str) -> str | None:
    """The split that one folder or file name stands for: "train", "test", "validation", or None."""
    key, equals, value = name.partition("=")
    if equals and key.lower() != "split":
        return None
    match = _SPLIT.search(_CAMEL.sub(" ", value if equals else name))
    return match.lastgroup if match else None


def named_split(path: str) -> str | None:
    """The split that a path names, in the file name or else the nearest folder."""
    return next((word for part in reversed(path.split("/")) if (word := split_word(part))), None)


def partitions(path: str) -> dict[str, str | None]:
    """The Hive partitions of a path: label=cat/part-0.parquet has the label cat."""
    found = (part.partition("=") for part in path.split("/")[:-1])
    return {key: None if value == _NO_VALUE else normal(unquote(value)) or None for key, equals, value in found if equals and key}


def decide_splits(named: set[str | None], unlabelled: Iterable[str | None] = ()) -> dict[str | None, str | None]:
    """Map each named split to its use, "train", "test" or None; splits that are not in the result are not used.

    The test split is "test", or "validation" if there is no "test", or none with labels. If there are not both a train and a test
    split, the use of all is None, and `data.test_fraction` divides the rows.

    Args:
        unlabelled: splits that have no labels; they are not used unless all training rows have none either.
    """
    train = named & {"train", None}
    if train - set(unlabelled):
        named = named - set(unlabelled)
        train = named & {"train", None}
    test = next((name for name in ("test", "validation") if name in named), None)
    if test is None or not train:
        return dict.fromkeys(named)
    return {**dict.fromkeys(train, "train"), test: "test"}


def told(named: set[str | None], unlabelled: set[str | None]) -> tuple[str, ...]:
    """One line for each split that is not used, and why."""
    uses = decide_splits(named, unlabelled)
    judge = next((str(name) for name, use in uses.items() if use == "test"), "data.test_fraction of the training images")
    left = sorted(named - set(uses), key=str)
    why = {name: "has no labels and" if name in unlabelled else "" for name in left}
    return tuple(
        f"the split {name or 'without a name'} {why[name]} is not used; {judge} serves as test.".replace("  ", " ") for name in left
    )


def check_named(root: str, files: Mapping[str | None, str]) -> None:
    """Check that no file lies beside those of a train and a test split.

    Args:
        files: of each named split one file.

    Raises:
        InputError: one does, and nobody knows what it is for.
    """
    if None in files and "train" in files and len(files) > 2:
        named = " and ".join(sorted(name for split, name in files.items() if split))
        raise InputError(
            f"data.root={root}: has {named}, but also {files[None]}, which names no split; move it, or name files by a glob."
        )


# --- folders of images -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Where the split and the class stand in the names of image files.

    Args:
        prefix: the folders around everything.
        splits: the split of each folder below the prefix; empty: there are none.
        inside: how many further folders lie around everything within each split.
        class_first: the classes lie above the splits.
    """

    prefix: Folders = ()
    splits: dict[str, str] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)
    class_first: bool = False

    def of(self, name: str) -> tuple[str | None, str | None]:
        """The split and the class of a file; None where it has none."""
        folders = tuple(name.split("/")[:-1])
        if folders[: len(self.prefix)] != self.prefix:
            return None, None
        split, rest = None, folders[len(self.prefix) :]
        if self.class_first:
            return (self.splits.get(rest[1]), normal(rest[0])) if len(rest) > 1 else (None, None)
        if rest and rest[0] in self.splits:
            split = self.splits[rest[0]]
            rest = rest[1 + self.inside.get(split, 0) :]
        return split, _label(rest)


def _label(folders: Folders) -> str | None:
    if not folders:
        return None
    if "=" in folders[0]:
        keys = partitions("/".join(folders) + "/")
        if named := next((column for column in LABEL_COLUMNS if column in keys), None):
            return keys[named]
    return normal(folders[0])


def layout(names: Sequence[str]) -> Layout:
    """The layout of the image files of a folder, from their names alone.

    A folder around everything is looked through. Folders named by a split, at the top or one level below, are the splits; the
    next level below is the classes. If everything lies in one folder, there are no classes.

    Raises:
        InputError: several data sets below one root, or images beside train/ and test/; the message begins with what is there.
    """
    folders = sorted({tuple(name.split("/")[:-1]) for name in names})
    prefix: Folders = ()
    while len(tops := {each[:1] for each in folders}) == 1 and (top := tops.pop()) and not _stays(top[0], folders):
        prefix, folders = prefix + top, [each[1:] for each in folders]
    tops = sorted({each[0] for each in folders if each})
    loose = () in folders
    words = {top: word for top in tops if (word := split_word(top))}
    if tops and not loose and len(words) == len(tops):
        again = sorted(word for word, count in Counter(words.values()).items() if count > 1)
        relative = _relative(names, prefix) if again else {}
        for word in again:
            if twins := _equal({top: relative[top] for top in tops if words[top] == word}):
                raise InputError(f"has {twins[0]} and {twins[1]} with files of the same names, a copy or masks; move one away.")
        return _within(Layout(prefix, words), names)
    if _paired(words):
        others = [top for top in tops if top not in words] + ["images"] * loose
        raise InputError(f"has {' and '.join(sorted(words)[:3])}, but also {', '.join(others[:3])}; move it into one of them.")
    below = {top: [each[1:] for each in folders if each[:1] == (top,)] for top in tops}
    with_splits = [top for top in tops if _has_splits(below[top])]
    if with_splits and len(with_splits) == len(tops) and not loose and all(len(each) == 2 for each in folders):
        relative = _relative(names, prefix)
        if not _equal(relative):
            return Layout(prefix, {each[1]: split_word(each[1]) or "" for each in folders}, class_first=True)
    if len(with_splits) > 1:
        raise _several(*with_splits[:2])
    if with_splits:
        other = next((top for top in tops if top not in with_splits), "images")
        raise InputError(f"has splits in {with_splits[0]}, but also {other}; name {with_splits[0]} in data.root, or move it.")
    if len(tops) > 1 and (kind := next((top for top in tops if _NO_CLASS.fullmatch(top)), None)):
        other = next(top for top in tops if top != kind)
        raise InputError(f"has images in {kind} and in {other}, which are hardly classes; name one of them in data.root.")
    nested = [top for top in tops if () not in below[top]]
    if len(nested) > 1 or (tops and all(_RESOLUTION.fullmatch(top) for top in tops)):
        relative = _relative(names, prefix)
        if twins := _equal({top: relative[top] for top in (nested if len(nested) > 1 else tops)}):
            raise _several(*twins)
    return Layout(prefix)


def _stays(top: str, folders: list[Folders]) -> bool:
    """Whether the only folder is more than a folder around everything: a split, or a partition."""
    return "=" in top or (split_word(top) is not None and not _has_splits([each[1:] for each in folders]))


def _has_splits(folders: list[Folders]) -> bool:
    """Whether the folders below one are a train and a test split."""
    words = {split_word(each[0]) if each else None for each in folders}
    return None not in words and "train" in words and len(words) > 1


def _paired(words: dict[str, str]) -> bool:
    """Whether a train and a test folder differ by the word alone (unlike the classes train_station and test_tube)."""
    rest: dict[str, set[str]] = defaultdict(set)
    for top, word in words.items():
        rest[_FILLING.sub("", _SPLIT.sub("", top)).lower()].add(word)
    return any("train" in each and len(each) > 1 for each in rest.values())


def _within(found: Layout, names: Sequence[str]) -> Layout:
    """Look through a folder around everything within the splits: train/images/*, seg_train/seg_train/<class>/*."""
    while True:
        labels: dict[str, set[str | None]] = defaultdict(set)
        for name in names:
            split, label = found.of(name)
            labels[split or ""].add(label)
        everything = set().union(*labels.values())
        inside = dict(found.inside)
        for split, own in labels.items():
            others = {loosely(label) for key, each in labels.items() if key != split for label in each if label}
            mine = {loosely(label) for label in own if label}
            kind = all(_NO_CLASS.fullmatch(label) for label in own if label)
            if mine and len(own) == 1 and (kind or len(everything) == 1 or not mine <= others):
                inside[split] = inside.get(split, 0) + 1
        if inside == found.inside:
            return found
        found = Layout(found.prefix, found.splits, inside)


# --- several data sets below one root --------------------------------------------------------------------------------


def check_one_set(names: Sequence[str]) -> None:
    """Check that no two sibling folders, other than splits and partitions, hold files of the same names.

    Raises:
        InputError: they do; they are two configurations of one data set, such as fine/ and coarse/.
    """
    below: dict[str, list[str]] = defaultdict(list)
    for name in names:
        top, slash, rest = name.partition("/")
        if slash:
            below[top].append(rest)
    siblings = {top: rest for top, rest in below.items() if "=" not in top and not split_word(top)}
    if twins := _equal({top: frozenset(rest) for top, rest in siblings.items()}):
        raise _several(*twins)
    first = ((top, name) for top, rest in siblings.items() for name in rest if _FIRST_SHARD.search(name) and named_split(name))
    begins: dict[str, str] = {}  # the first shard of a split, without its number -> the folder that holds it
    for top, name in first:
        if (other := begins.setdefault(_FIRST_SHARD.sub("", name), top)) != top:
            raise _several(other, top)
    for rest in below.values():
        check_one_set(rest)


def _relative(names: Sequence[str], prefix: Folders) -> dict[str, frozenset[str]]:
    """The names of the files below each top folder, without the suffixes of images: a mask may be of another format."""
    found: dict[str, set[str]] = defaultdict(set)
    start = sum(len(folder) + 1 for folder in prefix)
    for name in names:
        top, slash, rest = name[start:].partition("/")
        if slash:
            end = kinds.suffix(rest)
            found[top].add(rest[: -len(end)] if end in kinds.SUFFIXES else rest)
    return {top: frozenset(rest) for top, rest in found.items()}


def _equal(sets: dict[str, frozenset[str]]) -> tuple[str, str] | None:
    """Two folders that hold files of the same names."""
    seen: dict[frozenset[str], str] = {}
    for top, names in sorted(sets.items()):
        if names in seen:
            return seen[names], top
        seen[names] = top
    return None


def _several(one: str, other: str) -> InputError:
    what = f"holds two data sets, {one} and {other}, with files of the same names or splits"
    return InputError(f"{what}; name one of them in data.root.")
