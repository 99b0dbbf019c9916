"""The twenty classes of Diorama: label `k` is the `k`-th name, 0 is background, 255 void."""

from __future__ import annotations

from ovsslib.io.class_names import class_names

CLASSES = class_names("diorama")
THINGS, STUFF = CLASSES[:14], CLASSES[14:]
