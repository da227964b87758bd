from collections.abc import Callable

import pytest
import torch
import type_checks
from jaxtyping import Float, TypeCheckError
from torch import Tensor
from type_checks import checked, jaxtyped


def total(more: float) -> Callable[..., Tensor]:
    """A function within a function, as the import hook decorates it: anew at each call."""

    @jaxtyped(typechecker=checked)
    def rows(left: Float[Tensor, "row column"], right: Float[Tensor, "row column"]) -> Float[Tensor, " row"]:
        return (left + right).sum(1) + more if more < 9 else left

    return rows


def test_each_definition_is_called_itself_and_checked() -> None:
    ones = torch.ones(2, 3)
    for more in (0.0, 1.0):
        assert total(more)(ones, ones).tolist() == [6 + more] * 2
        with pytest.raises(TypeCheckError, match="right"):
            total(more)(ones, torch.ones(2, 4))
    with pytest.raises(TypeCheckError, match="return value"):
        total(9)(ones, ones)


def test_the_first_calls_in_a_test_are_checked() -> None:
    for right in (type_checks.CALLS - 1, 3):
        type_checks.calls.clear()

        @jaxtyped(typechecker=checked)
        def count(numbers: Float[Tensor, " n"]) -> int:
            return len(numbers)

        assert [count(torch.ones(2)) for _ in range(right)] == [2] * right
        with pytest.raises(TypeCheckError, match="numbers"):
            count(torch.ones(2, 2))
        for _ in range(type_checks.CALLS - right - 1):
            count(torch.ones(2))
        assert count(torch.ones(2, 2)) == 2
