"""Distilled sets and what training on them gives."""
