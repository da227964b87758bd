"""Distilled sets and the accuracy of networks trained on them."""
