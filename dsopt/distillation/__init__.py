"""Distilling a data set into a few synthetic images: one method a file, all under the contract of `contract.py`."""
