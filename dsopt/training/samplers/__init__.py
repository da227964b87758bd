"""How a phase feeds: which images each step sees, and with what weight. One sampler a file, entered in `SAMPLERS`."""

from dsopt.training.samplers.contract import Draw, Sampler

__all__ = ["Draw", "Sampler"]
