"""What selection methods compute with: distances, clusters, neighbors and principal components, on tensors of any device."""
