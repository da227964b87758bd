"""What trained generators are used for: images by class and seed, and search among the numbers that they are made from."""
