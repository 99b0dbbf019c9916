"""`ovss bench`."""
