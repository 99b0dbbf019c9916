"""Training of the micro models on Diorama's images and captions: no mask, no box.

`data` renders images and captions to a cache, `words` holds the vocabulary, `negatives`
makes false captions and packs them, `micro_blip` and `micro_clip` hold model and losses,
`loop` is the resumable loop, `evaluate` and `card` report what came out.
"""
