"""Search for networks: spaces of them, strategies that choose among them, and how far a cheap ranking of them can be trusted."""
