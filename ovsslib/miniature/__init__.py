"""The drawn world Diorama and the training of the micro models."""
