"""How much data is enough."""
