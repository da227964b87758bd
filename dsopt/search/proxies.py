"""Proxies for the full training of a child: fewer or other images, and fewer steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from dsopt.errors import InputError, unknown
from dsopt.registry import SELECTORS
from dsopt.search.enas.controller import Controller


@dataclass(frozen=True)
class Proxy:
    """A cheap substitute for full training.

    Args:
        data: "full", a selection method, or the folder of an images table: selected, distilled or generated.
        options: options of the selection method.
        images: the number or share of images; None: all images of a table.
        per_class: select the same number from every class.
        steps: training steps per child; None: as many as full training.
        draws: the number of independent subsets; each of them ranks all children.
        shared: instead of weights of their own, children use shared weights, trained with this controller (ENAS).
        bound_rates: how to treat learning rates that are part of a distilled set and were learned for another network: "use" trains
            with them, "ignore" with the optimizer of all children. None: such a set is an error.
    """

    data: str
    options: dict[str, Any] = field(default_factory=dict)
    images: int | float | None = None
    per_class: bool = False
    steps: int | None = None
    draws: int = 1
    shared: str | None = None
    bound_rates: str | None = None

    @property
    def selects(self) -> bool:
        return self.data != "full" and not self.is_table

    @property
    def is_table(self) -> bool:
        return "/" in self.data

    def title(self, steps: int) -> str:
        """A description in one line; `steps` are those of full training, which are not mentioned."""
        name = self.data.rstrip("/").rpartition("/")[2]
        parts = [name if self.images is None else f"{name} {self.images}", *(f"{k}={v}" for k, v in self.options.items())]
        parts += ["per_class"] if self.per_class else []
        parts += [f"{self.steps} steps"] if self.steps not in (None, steps) else []
        parts += [f"shared weights, {self.shared}"] if self.shared else []
        parts += ["its own rates"] if self.bound_rates == "use" else []
        return ", ".join(parts)


def parse(given: Mapping[str, Any], where: str) -> Proxy:
    """The proxy that a configuration describes. Raises InputError, which names the key `where` it is."""
    about, valid = f"{where}: {dict(given)}", [f.name for f in fields(Proxy)]
    for key in given:
        if key not in valid:
            raise unknown(f"{about}: key", str(key), valid)
    if not isinstance(given.get("data"), str):
        raise InputError(f"{about}: needs data: full, a selection method, or the folder of an images table.")
    proxy = Proxy(**given)
    if proxy.selects:
        if proxy.data not in SELECTORS.names():
            raise unknown(f"{about}: data", proxy.data, ["full", *SELECTORS.names()])
        SELECTORS.options(proxy.data, proxy.options)
    amount = proxy.images
    rules = [
        (amount is None or _above_0(amount), "images: must be a count above 0 or a share in (0, 1)"),
        (not proxy.selects or amount is not None, "needs images: how many, a count or a share"),
        (proxy.data != "full" or amount is None, "images: full data has all; give a selection method such as random_balanced"),
        (proxy.steps is None or (isinstance(proxy.steps, int) and proxy.steps >= 1), "steps: must be at least 1"),
        (isinstance(proxy.draws, int) and proxy.draws >= 1, "draws: must be at least 1"),
        (proxy.shared is None or proxy.shared in get_args(Controller), f"shared: must be one of {', '.join(get_args(Controller))}"),
        (not (proxy.shared and proxy.steps), "steps: those of the shared weights are search.shared.steps"),
        (proxy.bound_rates in (None, "use", "ignore"), "bound_rates: must be use or ignore"),
        (not proxy.bound_rates or proxy.is_table, "bound_rates: is for the table of a distilled set"),
    ]
    for fine, says in rules:
        if not fine:
            raise InputError(f"{about}: {says}.")
    return proxy


def _above_0(amount: Any) -> bool:
    if isinstance(amount, float):
        return 0 < amount < 1
    return isinstance(amount, int) and not isinstance(amount, bool) and amount > 0
