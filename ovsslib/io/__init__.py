"""Files: reading and writing images, JSON, palettes, downloads, provenance."""
