"""What `help=true` prints."""

import dataclasses
from typing import Any

from dsopt import registry
from dsopt.config.tree import Config


def describe() -> str:
    """What `help=true` prints: every key with its default and meaning, every registered name with its options."""
    lines = ["keys (key=default  meaning):"]
    lines += [f"  {key + '=' + value:<44} {says}".rstrip() for key, value, says in _describe_keys(Config(), "", "")]
    families = [registry.DATASETS, registry.SELECTORS, registry.MODELS, registry.LOSSES, registry.SPACES, registry.STRATEGIES]
    families += [registry.ADVERSARIAL, registry.TERMS, registry.DIFFERENTIABLE, registry.LIKELIHOODS, registry.DISTILLERS]
    families += [registry.NORMALISATIONS, registry.STORED]
    for family in [*families, registry.AUGMENTATIONS, registry.SCHEDULES, registry.SAMPLERS]:
        lines += ["", f"{family.noun}{'es' if family.noun.endswith('s') else 's'} (name  options):"]
        for name in family.names():
            lines.append(f"  {name:<20} {family.summary(name)}")
            lines += [f"      options.{key}={value}" for key, value in family.defaults(name).items()]
    return "\n".join(lines)


def _describe_keys(part: Any, prefix: str, about: str) -> list[tuple[str, str, str]]:
    rows = []
    for item in dataclasses.fields(part):
        value, says = getattr(part, item.name), item.metadata.get("says", "")
        if dataclasses.is_dataclass(value):
            rows += _describe_keys(value, f"{prefix}{item.name}.", says)
        else:
            shown = "" if value is None else str(value).replace("'", "").replace(" ", "")
            rows.append(
                (prefix + item.name, shown, says or (about if item.name == "name" else "its options, as options.KEY=VALUE"))
            )
    return rows
