"""Data sets, their ingest into the images table, and the images in memory."""
