"""Layer, head, threshold and blur without masks, by a CLIP reward.

In reading order: `candidates` (a point of the search space and its masks), `collect` (maps of all
layers and heads, from one pass), `reward` (CLIP), `objective` (the reward of candidates), `race`
and `search` (which candidates are judged), `tune` (all of it, and the preset file). `study` holds
how far the reward can be trusted.
"""
