"""Counts per image and class, and the figures made of them."""
