"""Sweeps: grids and searches over settings, on Ray Tune."""
