import shlex
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from omegaconf import OmegaConf

from dsopt import config as configuration
from dsopt import registry
from dsopt.config import Choice, Config, load
from dsopt.config.checks import choices
from dsopt.config.keys import walk
from dsopt.config.overrides import PRESETS
from dsopt.errors import InputError
from dsopt.registry import Registry

KINDS = {
    "autoencoder": "autoencoder",
    "dcgan_generator": "generator",
    "dcgan_discriminator": "discriminator",
    "infogan_encoder": "encoder",
    "unet": "colorizer",
    "patch_discriminator": "discriminator",
}
FAMILIES = {
    "ADVERSARIAL": ["non_saturating"],
    "AUGMENTATIONS": ["crop", "flip", "brightness", "contrast"],
    "DATASETS": ["digits", "cifar10"],
    "DISTILLERS": ["dd"],
    "LIKELIHOODS": ["bernoulli"],
    "LOSSES": ["squared_error", "wasserstein"],
    "MODELS": ["classifier24", "lenet", *KINDS],
    "NORMALISATIONS": ["channels"],
    "SCHEDULES": ["cosine", "constant"],
    "SELECTORS": ["top_activation", "random", "random_balanced"],
    "STORED": ["pixels"],
    "TERMS": ["l1"],
}


@pytest.fixture(autouse=True)
def _families(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small families in place of the real ones: these tests are about the configuration alone."""
    if request.node.name == "test_real_presets_and_names":
        return
    for family, names in FAMILIES.items():
        fake = Registry("tests_of_nothing", f"kind of {family.lower()}")
        fake._complete = True
        for name in names:
            kind = KINDS.get(name, "classifier")
            fake.register(function(name), kind=kind)
        for attribute, value in vars(fake).items():  # in the family itself, which the keys hold
            monkeypatch.setattr(getattr(registry, family), attribute, value)


def function(name: str) -> Any:
    def made(data: int, *, size: int = 3, kind: Literal["red", "green"] = "red") -> None:
        """Does nothing."""

    made.__name__ = name
    return made


def refused(*arguments: str, presets: Path = PRESETS) -> str:
    with pytest.raises(InputError) as error:
        load(arguments, presets)
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


def value(config: Config, key: str) -> Any:
    return OmegaConf.select(OmegaConf.structured(config), key)


@pytest.mark.parametrize(
    ("override", "right"),
    [
        ("seed=5", 5),
        ("storage=s3://bucket/a:b", "s3://bucket/a:b"),
        ("storage=a=b", "a=b"),
        ("storage='a b'", "a b"),
        ("data.root=null", None),
        ("data.root=", None),
        ("data.root=some/*.parquet", "some/*.parquet"),
        ('data.root="*.parquet"', "*.parquet"),
        ("data.name=cifar10", "cifar10"),
        ("select.budget=4320", 4320),
        ("select.budget=1", 1),
        ("select.budget=0.5", 0.5),
        ("select.budget=1.0", 1.0),
        ("select.options.size=4", 4),
        ("select.options.kind=green", "green"),
        ("train.schedule.options.size=4", 4),
        ("train.learning_rate=1e-3", 0.001),
        ("train.learning_rate=1", 1.0),
        ("train.augment=[]", []),
        ("train.augment=[flip,crop]", ["flip", "crop"]),
        ("train.augment=[crop(size=2),flip]", ["crop(size=2)", "flip"]),
        ("train.epochs=2", 2.0),
        ("compare.splits=[1,0.5]", [1.0, 0.5]),
        ("select.per_class=true", True),
        ("train.phases=[{data: subset, steps: 5}, {data: full, epochs: 0.5}]", None),
    ],
)
def test_overrides(override: str, right: Any) -> None:
    given = value(load([override]), override.partition("=")[0])
    if right is not None or "phases" not in override:
        assert given == right
        assert type(given) in (type(right), type(OmegaConf.create([])))
    else:
        assert given == [{"data": "subset", "steps": 5}, {"data": "full", "epochs": 0.5}]


def test_a_budget_of_one_image_is_not_the_whole_set() -> None:
    assert isinstance(load(["select.budget=1"]).select.budget, int)
    assert isinstance(load(["select.budget=1.0"]).select.budget, float)


def test_a_group_at_once() -> None:
    config = load(["select={name: random, options: {size: 2}}"])
    assert (config.select.name, config.select.options) == ("random", {"size": 2})
    assert config.select.budget == Config().select.budget


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "selct.name=random",
            "selct.name=random: key 'selct' is not known. Did you mean 'select'? Valid: advise, audit, autoencoder, ",
        ),
        ("select.nme=random", "select.nme=random: key 'nme' is not known. Did you mean 'name'? Valid: budget, content, device, "),
        ("select={nme: random}", "select={nme: random}: key 'nme' is not known. Did you mean 'name'?"),
        ("train.schedule.nme=x", "train.schedule.nme=x: key 'nme' is not known. Did you mean 'name'? Valid: name, options."),
        ("seed.x=1", "seed.x=1: "),
        ("seed", "argument 'seed' is not key=value; see help=true."),
        ("--help", "argument '--help' is not key=value; see help=true."),
        ("=5", "argument '=5' is not key=value"),
        ("select..budget=5", "argument 'select..budget=5' is not key=value"),
        ("seed=1\nstorage=x", "argument 'seed=1\\nstorage=x' is not key=value"),
        ("seed=one", "seed=one: Value 'one' of type 'str' could not be converted to Integer"),
        ("seed=", "seed=: "),
        ("train.steps=1.5", "train.steps=1.5: "),
        ("select.budget=true", "select.budget=true: "),
        ("select.budget=many", "select.budget=many: "),
        ("data.on_error=ignore", "data.on_error=ignore: Invalid value 'ignore', expected one of ['skip', 'fail']"),
        ("data=cifar10", "data=cifar10: data is a section of keys; expected data.name=cifar10."),
        ("embed=5", "embed=5: embed is a section of keys; expected embed.KEY=5."),
        ("train.phases=[1]", "train.phases=[1]: "),
        ("train.augment={a: 1}", "train.augment={a: 1}: is a list; expected "),
        ("storage=[1", "storage=[1: a bracket is not closed; expected 'storage=[...]', in quotes"),
        ("train.name=lenett", "train: classifier 'lenett' is not known. Did you mean 'lenet'? Valid: classifier24, lenet."),
        ("train.name=unett", "train: classifier 'unett' is not known. Did you mean 'lenet'? Valid: classifier24, lenet."),
        ("evaluate.networks=[x]", "evaluate.networks: classifier 'x' is not known. Valid: classifier24, lenet."),
        ("colorize.generator.name=x", "colorize.generator: colorizer 'x' is not known. Valid: unet."),
        (
            "generate.terms=[r1]",
            "generate.terms=[r1]: is a list whose elements are not plain values; expected "
            "'generate.terms=[{name: gradient_penalty, weight: 10}]'.",
        ),
        (
            "generate.terms=r1",
            "generate.terms=r1: is a list whose elements are not plain values; expected 'generate.terms=[{name: ",
        ),
        ("generate.terms={name: l1}", "generate.terms={name: l1}: is a list; expected generate.terms=[{name: l1}]."),
        (
            "sweep.also=[seed=0]",
            "sweep.also=[seed=0]: is a list whose elements are not plain values; expected 'sweep.also=[[train.s",
        ),
        (
            "generate.terms=[{nam: l1, weight: 1}]",
            "generate.terms: {'nam': 'l1', 'weight': 1}: key 'nam' is not known. Did you mean 'name'? "
            "Valid: name, options, side, weight.",
        ),
        ("colorize.terms=[{weight: 1}]", "colorize.terms: {'weight': 1}: expected {name: gradient_penalty, weight: 10}, perhaps"),
        (
            "generate.terms=[{name: r1, weight: much}]",
            "generate.terms: {'name': 'r1', 'weight': 'much'}: expected {name: gradient_penalty, weight: 10}, perhaps",
        ),
        (
            "generate.terms=[{name: l1, options: 5}]",
            "generate.terms: kind of terms l1: options=5: must be keys with ",
        ),
        (
            "sweep.space.train.learning_rate={logg: [0.001, 0.1]}",
            "sweep.space.train.learning_rate: range 'logg' is not known. Did you mean 'log'? Valid: log, uniform. "
            "Or give a list of values.",
        ),
        (
            "sweep.space.seed={log: [1, 2], uniform: [1, 2]}",
            "sweep.space.seed={'log': [1, 2], 'uniform': [1, 2]}: expected {log: [low, high]}, {uniform: [low, high]} or a list",
        ),
        ("data.root=*.png", "data.root=*.png: the value is not valid YAML (while scanning an alias); perhaps you mean '"),
        ("storage=${nothing}", "storage: Interpolation key 'nothing' not found"),
        ("data.name=digit", "data: kind of datasets 'digit' is not known. Did you mean 'digits'? Valid: cifar10, digits."),
        ("select.name=topactivation", "select: kind of selectors 'topactivation' is not known. Did you mean 'top_activation'?"),
        ("train.schedule.name=cosin", "train.schedule: kind of schedules 'cosin' is not known. Did you mean 'cosine'?"),
        ("loss.name=wassertein", "loss: kind of losses 'wassertein' is not known. Did you mean 'wasserstein'?"),
        ("train.augment=[flp]", "train.augment: kind of augmentations 'flp' is not known. Did you mean 'flip'?"),
        (
            "extra.augment=[flip(szie=3)]",
            "extra.augment: kind of augmentations flip: option 'szie' is not known. Did you mean 'size'?",
        ),
        ("train.augment=['flip(size=wide)']", "train.augment: kind of augmentations flip: size: Value 'wide'"),
        ("train.augment=['flip(']", "train.augment: kind of augmentations 'flip(' is not known. Did you mean 'flip'?"),
        ("train.name=autoencoder", "train: classifier 'autoencoder' is not known. Valid: classifier24, lenet."),
        ("compare.methods=[rnd]", "compare.methods: kind of selectors 'rnd' is not known."),
        ("select.options.szie=1", "select: kind of selectors top_activation: option 'szie' is not known. Did you mean 'size'?"),
        ("select.options.size=big", "select: kind of selectors top_activation: size: "),
        ("data.options.kind=blue", "data: kind of datasets digits: kind: Invalid value 'blue', expected one of"),
        ("select.options=5", "select.options=5: "),
        ("preset=", "preset '' is not known."),
    ],
)
def test_what_is_wrong_is_told_in_one_line(override: str, told: str) -> None:
    assert refused(override).startswith(told)


@pytest.mark.parametrize(
    "value",
    ["train.phases=[{data: subset, steps: 9}, {data: full, steps: 9}]", "train.augment=[crop, flip]", "storage=[it's, x]"],
)
def test_a_value_that_the_shell_cut_is_told_with_its_quotes(value: str) -> None:
    told = refused("seed=1", *value.split(), "select.budget=5")
    assert told == f"{value.split()[0]}: the shell split the value at its spaces; expected {shlex.quote(value)}."


def test_every_key_that_takes_a_model_says_of_which_kind() -> None:
    config = load(["evaluate.networks=[lenet]"])
    kinds = {choice.key: choice.kind for choice in choices(walk(config)) if choice.family is registry.MODELS}
    assert kinds["train"] == kinds["evaluate.networks"] == "classifier" and kinds["colorize.generator"] == "colorizer"
    assert all(kinds.values())


def test_every_choice_says_of_which_family() -> None:
    config = Config()
    named = {choice.key for choice in choices(walk(config))}
    assert {item.path for item in walk(config) if isinstance(item.value, Choice)} <= named
    assert not any(item.value.options for item in walk(config) if isinstance(item.value, Choice))


@pytest.mark.parametrize(
    "space",
    [
        "sweep.space.train.learning_rate={log: [0.001, 0.1]}",
        "sweep.space={train: {steps: [5, 6]}}",
        "sweep.space.train.steps=null",
        "sweep.space.select.options.size={uniform: [1, 2]}",
    ],
)
def test_ranges_of_a_search(space: str) -> None:
    assert load([space]).sweep.space


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        *("select.budget=0", "select.budget=-5", "select.budget=2.0", "select.budget=0.0", "select.budget=nan"),
        *("data.image_size=0", "data.channels=2", "data.test_fraction=1", "data.limit=0", "seed=-1", "seed=4294967296"),
        *("train.steps=0", "train.batch_size=0", "train.learning_rate=0", "train.learning_rate=nan", "train.momentum=1"),
        *("train.learning_rate=inf", "autoencoder.steps=-1", "autoencoder.momentum=-0.1", "embed.batch_size=0"),
        *("train.split=1.1", "train.split=nan", "train.average=1", "train.weight_decay=-1", "train.epochs=0"),
        *("train.seconds=-1", "compare.seeds=0", "compare.splits=[0.5,2]", "cluster.workers=-1"),
        *("cluster.cpus_per_worker=0", "cluster.max_failures=-1", "cluster.checkpoint_seconds=-1"),
        *("cluster.timeout_minutes=0",),
        *("train.phases=[{data: subset}]", "train.phases=[{data: some, steps: 5}]", "train.phases=[{steps: 5}]"),
        *("train.phases=[{data: full, steps: 5, epochs: 1}]", "train.phases=[{data: full, steps: 0}]"),
        *("train.phases=[{data: full, steps: five}]", "train.phases=[{data: full, steps: true}]"),
        *("train.phases=[{data: full, steps: 1.5}]", "train.phases=[{data: full, stps: 5}]"),
        *("measure.neighbours=0", "measure.samples=5", "train.batch_size_per_worker=0", "train.rate_rule=linear"),
    ],
)
def test_values_that_no_run_can_use_are_told(override: str) -> None:
    key = override.partition("=")[0]
    assert refused(override).startswith(key)


def test_two_budgets_are_told() -> None:
    assert "train.seconds" in refused("train.epochs=1", "train.seconds=1")


# --- presets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text("- train.steps=5\n- select.budget=10\n")
    (tmp_path / "within").mkdir()
    (tmp_path / "within" / "deep.yaml").write_text("- preset=small\n")
    (tmp_path / "other.yaml").write_text("- train.steps=7\n- seed=3\n")
    (tmp_path / "both.yaml").write_text("- train.steps=9\n- preset=small\n- preset=other\n")
    (tmp_path / "self.yaml").write_text("- preset=mirror\n")
    (tmp_path / "mirror.yaml").write_text("- preset=self\n")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "mapping.yaml").write_text("seed: 3\n")
    (tmp_path / "numbers.yaml").write_text("- 3\n")
    (tmp_path / "broken.yaml").write_text("- [a\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "wrong.yaml").write_text("- seeed=3\n")
    return tmp_path


def test_a_preset_is_a_list_of_overrides(presets: Path) -> None:
    assert load(["preset=small"], presets) == load(["train.steps=5", "select.budget=10"])
    assert load(["preset=empty"], presets) == load([])
    assert load([f"preset={presets}/small.yaml"]) == load(["preset=small"], presets)
    assert load(["preset=deep"], presets) == load(["preset=small"], presets)  # in a folder
    assert load(["preset=both"], presets) == load(["train.steps=9", "select.budget=10", "seed=3"])  # those that it names, and more


def test_later_wins(presets: Path) -> None:
    assert load(["seed=1", "seed=2"]).seed == 2
    assert load(["preset=small", "preset=other"], presets).train.steps == 7
    assert load(["preset=other", "preset=small"], presets).train.steps == 5
    assert load(["preset=other", "preset=small"], presets).seed == 3
    assert load(["train.steps=9", "preset=small"], presets).train.steps == 9  # the command line wins wherever it stands
    assert load(["preset=small", "train.steps=9"], presets).train.steps == 9


def test_presets_in_rows_of_a_sweep(presets: Path) -> None:
    config = load(["sweep.rows={A: [train.steps=7, preset=small], B: null}", "sweep.also=[[preset=small]]"], presets)
    small = ["train.steps=5", "select.budget=10"]
    assert config.sweep.rows == {"A": [*small, "train.steps=7"]} and config.sweep.also == [small]
    told = refused("sweep.rows.A=[preset=smal]", presets=presets)
    assert told.startswith("sweep.rows.A: preset 'smal' is not known. Did you mean 'small'?")
    for wrong in ("sweep.rows.A=small", "sweep.rows.A=[small]", "sweep.rows.A=[{a: 1}]", "sweep.also=[[small]]"):
        assert "must be a list of overrides" in refused(wrong, presets=presets)


def test_wrong_presets_are_told(presets: Path) -> None:
    assert refused("preset=smal", presets=presets).startswith("preset 'smal' is not known. Did you mean 'small'? Valid: ")
    assert refused("preset=nowhere/x.yaml", presets=presets).startswith("preset 'nowhere/x.yaml' is not known.")
    for name in ("mapping", "numbers", "broken", "binary"):
        told = refused(f"preset={name}", presets=presets)
        assert f"{name}.yaml: must be a YAML list of overrides" in told
    assert "Did you mean 'seed'?" in refused("preset=wrong", presets=presets)
    assert refused("preset=self", presets=presets) == "preset self: includes itself: self -> mirror -> self."


# --- what it is turned into ----------------------------------------------------------------------------------------


def test_yaml_and_back() -> None:
    config = load(["seed=3", "select.options.size=4", "train.phases=[{data: full, steps: 5}]"])
    text = configuration.as_yaml(config)
    assert yaml.safe_load(text) == configuration.plain(config)
    assert yaml.safe_load(text)["train"]["phases"] == [{"data": "full", "steps": 5}]
    assert configuration.as_yaml({"a": [1, None]}) == "a:\n- 1\n- null\n"


def test_configurations_share_nothing() -> None:
    one = load([])
    one.train.augment.append("flip")
    one.select.options["size"] = 1
    assert load([]) == Config()


@pytest.mark.slow
def test_real_presets_and_names() -> None:
    """With the real families: the defaults and every preset that comes with the jobs."""
    load([])
    for preset in PRESETS.rglob("*.yaml"):
        load([f"preset={preset.stem}"])


def test_a_single_value_is_a_list_of_one() -> None:
    config = load(["compare.methods=random", "compare.splits=0.5", "embed.encoder=timm:resnet18"])
    assert (config.compare.methods, config.compare.splits, config.embed.encoder) == (["random"], [0.5], ["timm:resnet18"])


@pytest.mark.parametrize("word", ["on", "off", "auto"])
def test_words_that_yaml_reads_as_booleans_are_words_where_a_key_has_words(word: str) -> None:
    assert load([f"train.compile={word}"]).train.compile == word


def test_on_and_off_are_booleans_where_a_key_is_one() -> None:
    assert [load([f"data.check={word}"]).data.check for word in ("on", "off")] == [True, False]
