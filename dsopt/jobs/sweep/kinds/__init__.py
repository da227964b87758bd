"""What the trials of a sweep are, one kind a file: see `contract.py`."""
