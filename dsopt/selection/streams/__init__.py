"""How methods choose from more embeddings than one process holds: in passes over the parts, with a small state."""
