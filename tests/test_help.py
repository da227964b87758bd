"""What `help=` says of keys, registered names and presets."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from dsopt import config as configuration
from dsopt import registry
from dsopt.config import Config
from dsopt.config.help import describe_keys
from dsopt.config.keys import walk
from dsopt.config.overrides import PRESETS
from dsopt.config.studies import CompareConfig
from dsopt.errors import InputError
from dsopt.registry import Registry


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same width wherever the tests run: lines are wrapped to that of the terminal."""
    monkeypatch.setenv("COLUMNS", "132")


def test_help_all_tells_all_keys_and_names() -> None:
    text = configuration.describe()
    for item in walk(Config()):
        if item.path.endswith(".options"):
            assert f"\n  {item.path}.KEY=VALUE " in text
        elif not is_dataclass(item.value):
            assert f"\n  {item.path}=" in text
    for family in vars(registry).values():
        for name in family.names() if isinstance(family, Registry) else ():
            assert f"\n  {name} " in text


def test_every_key_and_section_says_what_it_is() -> None:
    for item in walk(Config()):
        named = item.path.endswith((".name", ".options")) and not item.about.says  # said where the choice is
        assert item.about.says or named, item.path


def test_help_on_a_section_a_key_and_a_family() -> None:
    text = configuration.describe("compare")
    keys = [line for line in text.splitlines() if line.startswith("  compare.")]
    assert text.startswith("compare: ") and len(keys) == len(fields(CompareConfig))
    assert "compare.methods=[random,random_balanced]" in text
    assert "(help=selectors)" in text
    assert configuration.describe("train.split").startswith("  train.split=0.5 ")
    assert "(in [0, 1])" in configuration.describe("train.split")
    assert "(skip | fail)" in configuration.describe("data.on_error")
    assert "train.schedule.options.KEY=VALUE" in configuration.describe("train.schedule")
    text = configuration.describe("models")
    assert "\n classifier\n" in text and "\n  lenet " in text and "options: pooling=max" in text
    with pytest.raises(InputError, match=r"help topic 'selecters' is not known\. Did you mean 'selectors'\?"):
        configuration.describe("selecters")


def test_help_on_presets(tmp_path: Path) -> None:
    (tmp_path / "told.yaml").write_text("# Two lines\n# and one sentence. And another.\n- seed=3\n")
    (tmp_path / "commanded.yaml").write_text("# What for?\n#   dsopt sweep preset=commanded\n- seed=3\n")
    (tmp_path / "silent.yaml").write_text("- seed=3\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "beside.yaml").write_text("# In a folder.\n- seed=3\n")
    found = [" ".join(line.split()) for line in configuration.describe("presets", tmp_path).splitlines()[1:]]
    assert found == [
        "binary",
        "commanded What for?",
        "silent",
        "told Two lines and one sentence.",
        "",
        "studies:",
        "beside In a folder.",
    ]


def test_every_preset_says_what_it_is() -> None:
    assert all(re.match(r"# \S", path.read_text()) for path in PRESETS.rglob("*.yaml"))


def test_help_on_some_keys_in_their_order() -> None:
    lines = describe_keys(["select.budget", "select.name", "compare", "seed", "select.budget"]).splitlines()
    assert lines[0].startswith("select: ") and " more: help=select" in lines[0]
    assert [line.split("=")[0] for line in lines if re.match(r"  [\w.]+=", line)][:3] == [
        "  select.budget",
        "  select.name",
        "  compare.seeds",
    ]
    assert sum("select.budget=" in line for line in lines) == 1 and "general" in lines
    assert next(line for line in lines if line.startswith("compare")) == "compare: what the main job compares"
