"""Choosing layer, head and threshold without masks, by a CLIP reward."""
