"""Strategies: `(space, drawn, children, steps, *, options) -> Strategy`, registered with whether they learn from results."""
