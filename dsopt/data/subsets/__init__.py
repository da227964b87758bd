"""Subsets for the user's own code: as a data set, as a stream, as exports; the originals they are made of."""
