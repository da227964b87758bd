"""The search for a network among the children of a space."""
