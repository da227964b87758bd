"""Random scores like those of a proxy run."""

import torch


def synthetic_scores(names: tuple[str, ...], rows: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Random values for the named columns; `probability` has eight values per row, for labels up to 7."""

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
    """A selector's fifth argument: the columns as one matrix; an empty tuple without columns."""
    return (torch.cat([column.view(len(column), -1) for column in columns.values()], 1),) if columns else ()
