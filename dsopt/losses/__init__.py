"""Losses. One loss is one function: its keyword-only parameters are its options, what it returns is how to compute it."""
