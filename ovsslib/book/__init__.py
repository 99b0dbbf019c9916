"""The notebooks and the book: helpers, execution, building."""
