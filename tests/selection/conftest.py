"""Settings of all tests of selection."""

from collections.abc import Iterator

import pytest

from dsopt.selection import zcore


@pytest.fixture(autouse=True, scope="package")
def few_draws() -> Iterator[None]:
    """By default zcore draws a million points, however few the rows: seconds, in every test of all methods."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zcore, "DRAWS", 0)
        yield
