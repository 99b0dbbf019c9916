"""How far the reward can be trusted: reward and mIoU of every candidate.

`judge` makes a study, `file` keeps it, `figures` and `choices` compute from it.
"""
