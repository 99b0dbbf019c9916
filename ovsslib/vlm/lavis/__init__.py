"""LAVIS: its checkpoint files, and its own code as a backend."""
