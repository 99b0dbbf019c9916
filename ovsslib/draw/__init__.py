"""Drawing segmentations: overlays with numpy, plots with matplotlib."""
