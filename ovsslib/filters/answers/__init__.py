"""Answers of a chat model: their file, and what they say."""
