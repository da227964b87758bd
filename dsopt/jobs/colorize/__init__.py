"""Colorizers, and photographs coloured by them."""
