"""Keys of the audit: what may be wrong with the data."""

from dataclasses import dataclass
from typing import Literal

from dsopt import registry
from dsopt.config.keys import key

KINDS = [
    *("exact_duplicates", "leaks", "near_duplicates", "near_leaks", "embedding_duplicates", "embedding_leaks"),
    *("label_errors", "outliers", "dark", "bright", "blurred", "blank", "odd_aspect"),
]


@dataclass
class AuditConfig:
    kinds: list[str] = key(
        KINDS, "what is looked for; options in parentheses: 'dark(below=0.1)'", family=registry.CHECKS, options=True
    )
    judge: Literal["probe", "proxy"] = key(
        "probe",
        "what tells wrong labels: the probe, out of fold; or proxy.name, a network that has seen the images",
    )
