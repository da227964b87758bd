"""What the hash of a stage is made of: the keys that differ from the defaults, and no others."""

import dataclasses
from typing import Any

import pytest
from omegaconf import OmegaConf

from dsopt.config import Config, TrainConfig, differing, load

SECTIONS = [item.name for item in dataclasses.fields(Config)]


def test_the_default_configuration_differs_in_nothing() -> None:
    assert differing(Config(), *SECTIONS) == {}


def test_only_the_paths_asked_for_and_only_what_differs() -> None:
    config = load(["seed=3", "autoencoder.steps=5", "train.steps=7", "train.schedule.name=constant", "data.image_size=64"])
    assert differing(config, "autoencoder", "loss", "seed") == {"autoencoder": {"steps": 5}, "seed": 3}
    assert differing(config, "train") == {"train": {"steps": 7, "schedule": {"name": "constant"}}}
    assert differing(config, "data.image_size", "data.channels") == {"data.image_size": 64}
    assert differing(config, "train.schedule") == {"train.schedule": {"name": "constant"}}
    assert differing(config, "train", without=("train.steps", "train.schedule")) == {}
    assert differing(config, "train", without=("autoencoder.steps",)) == differing(config, "train")


def test_lists_and_free_dictionaries_are_whole() -> None:
    phases = [{"data": "subset", "steps": 5}, {"data": "full", "epochs": 0.5}]
    config = load(["train.phases=[{data: subset, steps: 5}, {data: full, epochs: 0.5}]", "train.augment=[crop]"])
    assert differing(config, "train") == {"train": {"phases": phases, "augment": ["crop"]}}
    config = load(["search.proxy={data: random, images: 100, steps: 200}"])
    assert differing(config, "search") == {"search": {"proxy": {"data": "random", "images": 100, "steps": 200}}}


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["train.options.width=64"], {}),  # what the network has by default
        (["train.options.width=8"], {"options": {"width": 8}}),
        (["train.name=lenet"], {"name": "lenet"}),
        (["train.name=convnet", "train.options.width=128", "train.options.depth=2"], {"name": "convnet", "options": {"depth": 2}}),
    ],
)
def test_options_that_a_function_has_by_default_are_left_out(overrides: list[str], found: dict[str, Any]) -> None:
    assert differing(load(overrides), "train") == ({"train": found} if found else {})


def test_options_of_an_unknown_name_are_given_whole() -> None:
    config = Config()
    config.select.name, config.select.options = "gone", {"size": 3}
    assert differing(config, "select") == {"select": {"name": "gone", "options": {"size": 3}}}


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(AttributeError):
        differing(Config(), "train.step")
    with pytest.raises(AttributeError):
        differing(Config(), "train", without=("train.step",))


def test_a_new_key_that_keeps_what_was_done_changes_nothing() -> None:
    @dataclasses.dataclass
    class LaterTrain(TrainConfig):
        new: bool = False

    @dataclasses.dataclass
    class Later(Config):
        train: LaterTrain = dataclasses.field(default_factory=LaterTrain)  # type: ignore[assignment]
        also: str = "none"

    now, later = Config(), Later()
    now.train.steps = later.train.steps = 7
    assert differing(now, *SECTIONS) == differing(later, *SECTIONS, "also") == {"train": {"steps": 7}}
    later.train.new, later.also = True, "some"
    assert differing(later, *SECTIONS, "also") == {"train": {"steps": 7, "new": True}, "also": "some"}


def leaves(part: Any, prefix: str = "") -> list[str]:
    found = []
    for item in dataclasses.fields(part):
        value = getattr(part, item.name)
        found += leaves(value, f"{prefix}{item.name}.") if dataclasses.is_dataclass(value) else [prefix + item.name]
    return found


def test_keys_set_to_their_defaults_change_nothing() -> None:
    tree = OmegaConf.structured(Config())
    for key in leaves(Config()):
        OmegaConf.update(tree, key, OmegaConf.select(tree, key))
    assert differing(OmegaConf.to_object(tree), *SECTIONS) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("key", leaves(Config()))
def test_every_key_with_another_value_shows(key: str) -> None:
    config = Config()
    *sections, last = key.split(".")
    part: Any = config
    for section in sections:
        part = getattr(part, section)
    if last == "options":
        part.name = "unknown"  # the options of a known name are compared with those of its function
    setattr(part, last, other(getattr(part, last)))
    found = differing(config, *SECTIONS)
    (section,) = found
    for name in key.split("."):
        assert name in found
        found = found[name]
    assert found == getattr(part, last) and section == key.split(".")[0]
    if last != "options":
        assert differing(config, *SECTIONS, without=(key,)) == {}


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {"a": 1} if isinstance(value, dict) else [] if value else ["x"] if isinstance(value, list) else "other"
