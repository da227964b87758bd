"""Strategies: `(space, random generator, children, steps, *, options) -> Strategy`, registered with whether they use results."""
