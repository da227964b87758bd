import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsopt import registry as families
from dsopt.errors import InputError
from dsopt.registry import REQUIRED, Registry, call, first_sentence

FRUIT = """
from typing import Literal
from fruits import FRUITS

@FRUITS.register
def apple(data, labels, *, size: int = 3, kind: Literal["red", "green"] = "red", ripe: float | None = None,
          parts: list[str] = ["core"]) -> tuple:
    \"\"\"FilteringSampler the doctor away.

    More about it.
    \"\"\"
    return data, labels, size, kind, ripe, parts

@FRUITS.register(streams=True)
def pear(data, *, size: int, sweet: bool = False):
    return data, size, sweet
"""


@pytest.fixture
def fruits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A family whose functions lie in two files of a package."""
    package = tmp_path / "fruits"
    package.mkdir()
    (package / "__init__.py").write_text('from dsopt.registry import Registry\nFRUITS = Registry("fruits", "fruit")\n')
    (package / "pome.py").write_text(FRUIT)
    (package / "stone.py").write_text("from fruits import FRUITS\n\n@FRUITS.register\ndef plum(data): return data\n")
    monkeypatch.syspath_prepend(tmp_path)
    import fruits  # type: ignore

    yield fruits.FRUITS
    for name in [name for name in sys.modules if name.partition(".")[0] == "fruits"]:
        del sys.modules[name]


def message(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_file_of_the_package_counts(fruits: Registry) -> None:
    assert fruits.names() == ["apple", "pear", "plum"]
    assert fruits.function("plum")(5) == 5


def test_a_new_file_is_found_without_a_list(fruits: Registry, tmp_path: Path) -> None:
    (tmp_path / "fruits" / "berry.py").write_text("from fruits import FRUITS\n\n@FRUITS.register\ndef fig(data): ...\n")
    assert "fig" in fruits.names()


def test_a_family_may_be_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "oneclock.py").write_text(
        'from dsopt.registry import Registry\nCLOCKS = Registry("oneclock", "clock")\n\n@CLOCKS.register\ndef sun(): ...\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    import oneclock  # type: ignore

    assert oneclock.CLOCKS.names() == ["sun"]


def test_keyword_only_parameters_are_options(fruits: Registry) -> None:
    assert fruits.options("apple") == {"size": 3, "kind": "red", "ripe": None, "parts": ["core"]}
    assert fruits.options("apple", {"size": 5, "ripe": 0.5})["ripe"] == 0.5
    assert fruits.options("plum") == {}
    assert fruits.defaults("pear") == {"size": REQUIRED, "sweet": False}
    assert fruits.build("apple", {"kind": "green"})(1, 2) == (1, 2, 3, "green", None, ["core"])
    assert fruits.build("pear", {"size": 1})("x") == ("x", 1, False)


def test_a_changed_default_stays_with_its_caller(fruits: Registry) -> None:
    fruits.options("apple")["parts"].append("skin")
    assert fruits.options("apple")["parts"] == ["core"]


def test_traits_and_summary(fruits: Registry) -> None:
    assert fruits.traits("pear").streams is True
    assert vars(fruits.traits("apple")) == {}
    assert fruits.summary("apple") == "FilteringSampler the doctor away."
    assert fruits.summary("pear") == ""


def test_an_unknown_name_is_told_with_the_nearest(fruits: Registry) -> None:
    for look_up in (fruits.function, fruits.options, fruits.traits, fruits.build, fruits.summary, fruits.defaults):
        with pytest.raises(InputError) as error:
            look_up("aple")
        assert message(error) == "fruit 'aple' is not known. Did you mean 'apple'? Valid: apple, pear, plum."
    with pytest.raises(InputError) as error:
        fruits.function("xyz")
    assert message(error) == "fruit 'xyz' is not known. Valid: apple, pear, plum."


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("apple", {"szie": 1}, "fruit apple: option 'szie' is not known. Did you mean 'size'? Valid: kind, parts, ripe, size."),
        ("plum", {"size": 1}, "fruit plum: option 'size' is not known. Valid: none."),
        ("plum", 5, "fruit plum: options=5: must be keys with values; expected options: {KEY: VALUE}."),
        ("plum", {"data": 1}, "fruit plum: option 'data' is not known. Valid: none."),
        ("apple", {"size": "big"}, "fruit apple: size: "),
        ("apple", {"size": 1.5}, "fruit apple: size: "),
        ("apple", {"size": None}, "fruit apple: size: "),
        ("apple", {"kind": "blue"}, "fruit apple: kind: Invalid value 'blue', expected one of ['red', 'green']"),
        ("apple", {"ripe": "very"}, "fruit apple: ripe: "),
        ("apple", {"parts": "core"}, "fruit apple: parts: "),
        ("apple", {"parts": {"a": 1}}, "fruit apple: "),
        ("pear", {"size": 1, "sweet": "perhaps"}, "fruit pear: sweet: "),
        ("pear", {}, "fruit pear: size: "),
    ],
)
def test_wrong_options_are_told(fruits: Registry, name: str, options: dict, told: str) -> None:
    with pytest.raises(InputError) as error:
        fruits.options(name, options)
    assert message(error).startswith(told)
    with pytest.raises(InputError):
        fruits.build(name, options)


def test_one_name_is_not_given_twice(fruits: Registry, tmp_path: Path) -> None:
    (tmp_path / "fruits" / "again.py").write_text("from fruits import FRUITS\n\n@FRUITS.register\ndef plum(data): ...\n")
    with pytest.raises(ValueError, match="already has a 'plum'"):
        fruits.names()


FAMILIES = {value.package: value for value in vars(families).values() if isinstance(value, Registry)}


@pytest.mark.parametrize("package", FAMILIES)
def test_every_registered_function_can_be_configured(package: str) -> None:
    """The real families: each has members, each member says what it is, and its options have types and valid defaults."""
    family = FAMILIES[package]
    assert family.names()
    for name in family.names():
        assert family.summary(name), f"{package}: {name} has no docstring"
        needed = {key for key, value in family.defaults(name).items() if value == REQUIRED}
        if not needed:
            assert set(family.options(name)) == set(family.defaults(name))


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("shift", "shift", {}),
        ("shift()", "shift", {}),
        ("shift(most=2)", "shift", {"most": 2}),
        (" blur(low = 0.5, high=2) ", "blur", {"low": 0.5, "high": 2}),
        ("rotate(padding=border)", "rotate", {"padding": "border"}),
        ("pear(sizes=[1, 2], sweet=true)", "pear", {"sizes": [1, 2], "sweet": True}),
        ("shift(most=2", "shift(most=2", {}),
        ("shift(most=[2)", "shift(most=[2)", {}),
    ],
)
def test_a_name_with_options(text: str, name: str, options: dict) -> None:
    assert call(text) == (name, options)


def test_the_first_sentence() -> None:
    assert first_sentence("A line\nand another (He et al. 2016). `More`.\n\nMuch more.") == "A line and another (He et al. 2016)."
    assert first_sentence("") == ""
