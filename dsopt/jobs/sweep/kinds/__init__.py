"""The kinds of sweep, one a file: see `contract.py`."""
