"""Search spaces, one function each: `(*, fields and their values) -> Space`."""
