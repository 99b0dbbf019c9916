"""Colours by name, and which of them each thing comes in."""

from __future__ import annotations

from ovsslib.miniature.diorama.canvas import Colour

PALETTE: dict[str, Colour] = {
    "red": (205, 48, 44),
    "blue": (52, 98, 190),
    "yellow": (240, 200, 62),
    "green": (62, 140, 74),
    "white": (240, 238, 230),
    "black": (52, 50, 56),
    "grey": (146, 148, 154),
    "brown": (138, 92, 56),
    "orange": (232, 134, 46),
    "purple": (134, 80, 166),
    "pink": (236, 158, 176),
}
GLASS: Colour = (172, 214, 236)
TYRE: Colour = (44, 42, 46)
DARK: Colour = (40, 36, 38)

# Typical colours of each thing; the last one of six of them is kept out of training (see HELD_OUT).
COLOURS: dict[str, tuple[str, ...]] = {
    "car": ("red", "blue", "yellow", "white", "green"),
    "bus": ("yellow", "red", "orange", "green"),
    "boat": ("red", "white", "brown", "blue"),
    "house": ("white", "yellow", "pink", "blue"),
    "tree": ("green", "orange", "pink", "yellow"),
    "cat": ("orange", "grey", "black", "white"),
    "dog": ("brown", "white", "black", "yellow"),
    "sheep": ("white", "grey", "brown", "black"),
    "bird": ("blue", "red", "black", "yellow"),
    "traffic light": ("black", "yellow", "green"),
    "street light": ("black", "grey", "green"),
    "hot air balloon": ("red", "blue", "yellow", "purple"),
    "fire hydrant": ("red", "yellow", "blue"),
    "mushroom": ("red", "brown", "orange", "purple"),
}
# Novel compositions: these (colour, thing) pairs occur in the val split and never in training.
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("green", "car"),
        ("blue", "boat"),
        ("blue", "house"),
        ("black", "sheep"),
        ("yellow", "bird"),
        ("purple", "mushroom"),
    }
)
