"""Tables and charts of stored and published figures."""
