"""The main job, and those that make a part of it."""
