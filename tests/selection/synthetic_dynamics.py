"""Scores as a proxy run might leave them."""

import torch


def made_up(names: tuple[str, ...], rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The columns named, by chance; `probability` has eight columns of its own, for labels up to 7."""

    def uniform(high: float) -> torch.Tensor:
        return high * torch.rand(rows, generator=generator)

    columns = {
        "el2n": uniform(1.4),
        "forgetting": torch.randint(4, (rows,), generator=generator).float(),
        "aum": 5 * torch.randn(rows, generator=generator),
        "dual": uniform(0.25),
        "mean_probability": uniform(1),
        "grand": uniform(9),
        "loss": uniform(3),
        "probability": torch.randn(rows, 8, generator=generator).softmax(1),
    }
    return {name: columns[name] for name in names}


def matrix(columns: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """What a selector takes as its fifth argument: nothing, or the columns side by side."""
    return (torch.cat([column.view(len(column), -1) for column in columns.values()], 1),) if columns else ()
