"""Samplers: which images each step of a phase sees, and with what weights. One a file, registered in `SAMPLERS`."""

from dsopt.training.samplers.contract import BatchIndices, Sampler

__all__ = ["BatchIndices", "Sampler"]
