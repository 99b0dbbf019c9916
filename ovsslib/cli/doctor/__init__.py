"""`ovss doctor`."""
