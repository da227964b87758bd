"""Learners: networks, their optimizers, and one `update(batch) -> metrics`. The training loop drives them, with or without Ray."""
