"""Colorizers, and photographs colored by them."""
