"""Architecture search: search spaces, search strategies, proxies for full training, and the quality of a proxy's ranking."""
