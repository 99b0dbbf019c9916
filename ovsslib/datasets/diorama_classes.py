"""The twenty classes of Diorama: label `k` is the `k`-th name, 0 is background, 255 void."""

from __future__ import annotations

THINGS: tuple[str, ...] = (
    "car",
    "bus",
    "boat",
    "house",
    "tree",
    "cat",
    "dog",
    "sheep",
    "bird",
    "traffic light",
    "street light",
    "hot air balloon",
    "fire hydrant",
    "mushroom",
)
STUFF: tuple[str, ...] = ("sky", "grass", "sand", "water", "road", "brick wall")
CLASSES: tuple[str, ...] = THINGS + STUFF
