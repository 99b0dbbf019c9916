"""Measuring speed and memory: what `ovss bench` runs."""
