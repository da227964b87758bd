"""Generators, what they make, and how good it is."""
