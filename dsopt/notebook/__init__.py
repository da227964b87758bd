"""The methods on arrays and tensors in memory, for notebooks and scripts of one's own: no tables, no configuration, no Ray.

Each function builds a registered method by its name and calls it; further keywords are the method's options, checked as on the
command line. docs/python.md has an example of each.
"""
