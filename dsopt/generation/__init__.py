"""Images from trained networks: sampling by class and seed, interpolation of embeddings, and colorization of photographs."""
