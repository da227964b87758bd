"""The stages of the main job, one a file: what a stage is made of (its folder follows from that) and its work.

Each file has a function that gives the `Step`s up to and including its own stage. Jobs plan with them, then `run` the plan.
"""
