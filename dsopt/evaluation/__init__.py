"""How good images are: what a classifier learns from them, how far their features are from those of real ones, how colourful."""
