"""Search spaces, one function per space: `(*, fields and their values) -> Space`."""
