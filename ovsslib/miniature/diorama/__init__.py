"""Diorama: a miniature world of drawn scenes with exact masks and captions.

`classes` names what can be seen, `scene` decides what stands where, `things` and `stuff`
draw it on a `canvas`, `captions` describes it, `make` writes it in Pascal VOC's layout.
Everything is a function of the seed.
"""
