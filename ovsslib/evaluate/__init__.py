"""Runs over a data set: what to run, how, in shards that survive, and their results."""
