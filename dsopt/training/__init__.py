"""The training loop, the only one, with its schedules and samplers."""
