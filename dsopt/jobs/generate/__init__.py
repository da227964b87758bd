"""Generators and the measures of their images."""
