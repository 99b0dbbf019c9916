"""Asking a chat model which classes are in an image."""
