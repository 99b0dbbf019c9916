"""How a data set is scored: classes, windows, prompts, background rule, relabelling."""
