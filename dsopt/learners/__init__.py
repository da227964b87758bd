"""Learners: networks, their optimisers, and one `update(batch) -> metrics`. The loop drives them, with Ray or without."""
