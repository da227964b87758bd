"""The quality of generated, distilled and colorized images: distances of their features from real ones, scores, colors."""
