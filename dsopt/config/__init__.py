"""The one configuration. A preset, a sweep trial and a command line are the same thing: a list of overrides."""

from dsopt.config.data import DataConfig, SelectConfig
from dsopt.config.difference import differing
from dsopt.config.help import describe
from dsopt.config.keys import Choice
from dsopt.config.overrides import as_yaml, load, plain, variant
from dsopt.config.studies import ChildConfig, SweepConfig
from dsopt.config.synthesis import AdversarialConfig, GenerateConfig
from dsopt.config.training import ClassifierConfig, TrainConfig
from dsopt.config.tree import ClusterConfig, Config

__all__ = [
    "AdversarialConfig",
    "ChildConfig",
    "Choice",
    "ClassifierConfig",
    "ClusterConfig",
    "Config",
    "DataConfig",
    "GenerateConfig",
    "SelectConfig",
    "SweepConfig",
    "TrainConfig",
    "as_yaml",
    "describe",
    "differing",
    "load",
    "plain",
    "variant",
]
