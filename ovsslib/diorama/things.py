"""How each of the fourteen things is drawn: a plain body and the parts that tell it apart.

Every function takes a :class:`~ovsslib.diorama.canvas.Pen`, the body's colour and a random
generator for the layout of the parts. Object coordinates: foot at (0, 0), height 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ovsslib.diorama.canvas import Colour, Pen, Point, shade

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


def car(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Low body, cabin with windows, two wheels, lamps."""
    cabin = rng.uniform(-0.15, 0.15)
    pen.poly([(-0.62 + cabin, 0.5), (-0.36 + cabin, 0.98), (0.34 + cabin, 0.98), (0.62 + cabin, 0.5)], colour)
    pen.poly([(-0.5 + cabin, 0.54), (-0.31 + cabin, 0.9), (-0.03 + cabin, 0.9), (-0.03 + cabin, 0.54)], GLASS)
    pen.poly([(0.04 + cabin, 0.54), (0.04 + cabin, 0.9), (0.29 + cabin, 0.9), (0.48 + cabin, 0.54)], GLASS)
    pen.poly([(-0.98, 0.2), (-0.98, 0.46), (-0.8, 0.56), (0.85, 0.56), (1.0, 0.44), (1.0, 0.2)], colour)
    pen.rect(-0.97, 0.28, 0.99, 0.33, shade(colour, 0.75), edge=None)
    pen.ellipse(0.92, 0.43, 0.06, 0.06, (255, 244, 190))
    pen.ellipse(-0.93, 0.43, 0.04, 0.06, (190, 40, 40))
    for x in (-0.55, 0.58):
        pen.ellipse(x, 0.2, 0.2, 0.2, TYRE)
        pen.ellipse(x, 0.2, 0.09, 0.09, (190, 190, 196))


def bus(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Long tall box with a row of windows, a door and two wheels."""
    pen.poly([(-1.15, 0.14), (-1.15, 0.9), (-1.08, 1.0), (1.08, 1.0), (1.15, 0.9), (1.15, 0.14)], colour)
    pen.rect(-1.15, 0.36, 1.15, 0.44, shade(PALETTE["white"], 0.98), edge=None)
    door = rng.choice([-1, 1])
    for x in np.linspace(-1.02, 0.66, 5):
        pen.rect(x, 0.54, x + 0.3, 0.88, GLASS)
    pen.rect(0.36 * door - 0.13, 0.14, 0.36 * door + 0.13, 0.86, shade(GLASS, 0.8))
    pen.ellipse(1.1, 0.26, 0.05, 0.05, (255, 244, 190))
    for x in (-0.72, 0.8):
        pen.ellipse(x, 0.14, 0.14, 0.14, TYRE)
        pen.ellipse(x, 0.14, 0.06, 0.06, (190, 190, 196))


def boat(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Hull with a mast and two sails."""
    pen.stroke([(0.0, 0.2), (0.0, 1.0)], 0.035, PALETTE["brown"])
    lean = rng.uniform(0.4, 0.56)
    pen.poly([(0.04, 0.3), (0.04, 0.97), (0.1 + lean, 0.32)], (248, 244, 232))
    pen.poly([(-0.04, 0.3), (-0.04, 0.84), (-0.42, 0.32)], shade(PALETTE["red"], 1.1) if rng.random() < 0.4 else (232, 226, 208))
    pen.poly([(0.0, 1.0), (0.0, 0.93), (-0.14, 0.965)], PALETTE["red"], edge=None)
    pen.poly([(-0.72, 0.25), (0.76, 0.25), (0.55, 0.0), (-0.52, 0.0)], colour)
    pen.poly([(-0.72, 0.25), (0.76, 0.25), (0.72, 0.19), (-0.68, 0.19)], shade(colour, 1.25), edge=None)


def house(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Wall with door and windows under a pitched roof with a chimney."""
    roof = [(168, 66, 52), (110, 78, 62), (92, 92, 108)][rng.integers(3)]
    side = rng.choice([-1, 1])
    pen.rect(0.24 * side - 0.06, 0.7, 0.24 * side + 0.06, 0.99, (150, 82, 66))
    pen.rect(-0.48, 0.0, 0.48, 0.6, colour)
    pen.poly([(-0.6, 0.56), (0.0, 0.97), (0.6, 0.56)], roof)
    for level in (0.64, 0.74, 0.84):
        half = 0.6 * (0.97 - level) / 0.41
        pen.stroke([(-half, level), (half, level)], 0.012, shade(roof, 0.8))
    door = rng.uniform(-0.1, 0.1)
    pen.rect(door - 0.09, 0.0, door + 0.09, 0.32, (124, 74, 48))
    pen.ellipse(door + 0.05, 0.15, 0.014, 0.014, (240, 210, 90), edge=None)
    for x in (-0.31, 0.31):
        pen.rect(x - 0.1, 0.26, x + 0.1, 0.48, GLASS)
        pen.stroke([(x, 0.26), (x, 0.48)], 0.018, (250, 250, 250))
        pen.stroke([(x - 0.1, 0.37), (x + 0.1, 0.37)], 0.018, (250, 250, 250))


def tree(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Brown trunk under a round crown of leaves, or under tiers of needles."""
    pen.poly([(-0.07, 0.0), (0.07, 0.0), (0.045, 0.5), (-0.045, 0.5)], (112, 76, 48))
    if rng.random() < 0.3:
        for base, width in ((0.24, 0.38), (0.46, 0.31), (0.68, 0.23)):
            pen.poly([(-width, base), (width, base), (0.0, base + 0.34)], shade(colour, 0.9))
        return
    for _ in range(9):
        a, r = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.2)
        pen.ellipse(r * np.cos(a) * 1.1, 0.69 + r * np.sin(a) * 0.9, 0.17, 0.155, shade(colour, rng.uniform(0.8, 1.0)), edge=None)
    for _ in range(7):
        a, r = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.24)
        pen.ellipse(r * np.cos(a), 0.72 + r * np.sin(a) * 0.8, 0.055, 0.05, shade(colour, 1.22), edge=None)


def _legs(pen: Pen, xs: tuple[float, ...], top: float, width: float, colour: Colour) -> None:
    for x in xs:
        pen.rect(x - width / 2, 0.0, x + width / 2, top, colour)


def cat(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Slim striped body, tail up, round head with pointed ears and whiskers."""
    tail = rng.uniform(0.75, 0.98)
    pen.stroke([(-0.42, 0.42), (-0.6, 0.55), (-0.62, tail), (-0.5, tail + 0.02)], 0.085, shade(colour, 0.9))
    _legs(pen, (-0.34, -0.2, 0.18, 0.32), 0.34, 0.09, shade(colour, 0.92))
    pen.ellipse(0.0, 0.42, 0.48, 0.19, colour)
    for x in (-0.28, -0.12, 0.04):
        pen.stroke([(x, 0.58), (x + 0.03, 0.42)], 0.045, shade(colour, 0.6))
    pen.poly([(0.2, 0.8), (0.22, 1.0), (0.38, 0.88)], colour)
    pen.poly([(0.44, 0.88), (0.6, 1.0), (0.62, 0.8)], colour)
    pen.poly([(0.245, 0.84), (0.255, 0.94), (0.33, 0.88)], PALETTE["pink"], edge=None)
    pen.poly([(0.49, 0.88), (0.57, 0.94), (0.58, 0.84)], PALETTE["pink"], edge=None)
    pen.ellipse(0.41, 0.73, 0.23, 0.19, colour)
    for x in (0.33, 0.5):
        pen.ellipse(x, 0.76, 0.04, 0.05, (196, 214, 82), edge=0.3)
        pen.ellipse(x, 0.76, 0.014, 0.045, DARK, edge=None)
    pen.ellipse(0.415, 0.68, 0.03, 0.02, PALETTE["pink"])
    for y in (0.64, 0.69):
        pen.stroke([(0.48, 0.67), (0.7, y)], 0.012, (250, 250, 250))
        pen.stroke([(0.35, 0.67), (0.14, y)], 0.012, (250, 250, 250))


def dog(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Stout body with a patch, long snout, hanging ears, collar, short tail."""
    pen.stroke([(-0.46, 0.56), (-0.62, rng.uniform(0.66, 0.8))], 0.09, colour)
    _legs(pen, (-0.36, -0.22, 0.2, 0.34), 0.4, 0.11, shade(colour, 0.92))
    pen.poly([(-0.5, 0.36), (-0.5, 0.6), (-0.4, 0.66), (0.4, 0.68), (0.46, 0.38)], colour)
    pen.ellipse(rng.uniform(-0.3, 0.0), 0.52, 0.13, 0.1, shade(colour, 0.55 if sum(colour) > 300 else 2.0), edge=None)
    pen.ellipse(0.42, 0.8, 0.21, 0.19, colour)
    pen.poly([(0.5, 0.64), (0.8, 0.66), (0.82, 0.76), (0.56, 0.84)], shade(colour, 1.12))
    pen.ellipse(0.8, 0.75, 0.05, 0.04, DARK)
    pen.poly([(0.22, 0.94), (0.36, 0.96), (0.35, 0.62), (0.24, 0.58), (0.17, 0.7)], shade(colour, 0.6))
    pen.ellipse(0.5, 0.85, 0.03, 0.035, DARK, edge=None)
    pen.stroke([(0.26, 0.63), (0.5, 0.6)], 0.06, PALETTE["red"])


def sheep(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Cloud of wool on thin dark legs with a dark face."""
    face = (64, 56, 58) if sum(colour) > 330 else (196, 180, 164)
    _legs(pen, (-0.34, -0.2, 0.14, 0.28), 0.36, 0.065, face)
    for a in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        wobble = rng.uniform(0.92, 1.05)
        pen.ellipse(-0.04 + 0.38 * np.cos(a) * wobble, 0.56 + 0.22 * np.sin(a) * wobble, 0.15, 0.135, shade(colour, rng.uniform(0.9, 1.0)))
    pen.ellipse(-0.04, 0.56, 0.42, 0.24, colour, edge=None)
    for _ in range(7):
        pen.ellipse(rng.uniform(-0.34, 0.26), rng.uniform(0.42, 0.7), 0.05, 0.035, shade(colour, 0.86), edge=None)
    pen.poly([(0.3, 0.84), (0.24, 0.72), (0.42, 0.78)], face)
    pen.ellipse(0.5, 0.74, 0.14, 0.17, face)
    pen.ellipse(0.4, 0.9, 0.14, 0.085, colour)
    pen.ellipse(0.55, 0.79, 0.025, 0.03, (250, 250, 250), edge=None)


def bird(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Round body, beak, wing up or folded, fan tail, two thin legs."""
    for x in (-0.02, 0.12):
        pen.stroke([(x, 0.26), (x, 0.0), (x + 0.1, 0.0)], 0.035, PALETTE["orange"])
    pen.poly([(-0.34, 0.44), (-0.85, 0.68), (-0.92, 0.52), (-0.78, 0.38)], shade(colour, 0.75))
    pen.ellipse(0.0, 0.5, 0.46, 0.3, colour)
    pen.ellipse(0.1, 0.4, 0.28, 0.18, shade(colour, 1.35), edge=None)
    pen.poly([(0.6, 0.82), (0.92, 0.72), (0.6, 0.66)], PALETTE["orange"])
    pen.ellipse(0.42, 0.76, 0.24, 0.22, colour)
    pen.ellipse(0.5, 0.8, 0.055, 0.06, (250, 250, 250))
    pen.ellipse(0.515, 0.8, 0.025, 0.03, DARK, edge=None)
    if rng.random() < 0.5:
        pen.poly([(-0.28, 0.6), (0.16, 0.6), (-0.16, 1.0), (-0.42, 0.94)], shade(colour, 0.7))
    else:
        pen.poly([(-0.36, 0.6), (0.16, 0.62), (-0.06, 0.34), (-0.42, 0.42)], shade(colour, 0.7))


def traffic_light(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Straight pole and a box with a red, a yellow and a green lamp."""
    pen.rect(-0.028, 0.0, 0.028, 0.6, (78, 80, 86))
    pen.rect(-0.09, 0.0, 0.09, 0.03, (78, 80, 86))
    pen.rect(-0.14, 0.46, 0.14, 1.0, colour)
    lit = int(rng.integers(3))
    lamps: list[Colour] = [(236, 52, 44), (248, 206, 58), (62, 206, 92)]
    for i, lamp in enumerate(lamps):
        pen.ellipse(0.0, 0.9 - 0.17 * i, 0.083, 0.07, lamp if i == lit else shade(lamp, 0.62))


def street_light(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Tall pole with a curved arm and a glowing lantern."""
    pen.rect(-0.075, 0.0, 0.075, 0.05, shade(colour, 0.9))
    pen.rect(-0.028, 0.0, 0.028, 0.86, colour)
    reach = rng.uniform(0.26, 0.36)
    arc: list[Point] = [(reach / 2 - reach / 2 * np.cos(a), 0.86 + 0.1 * np.sin(a)) for a in np.linspace(0, np.pi, 9)]
    pen.stroke(arc, 0.04, colour)
    pen.poly([(reach - 0.1, 0.8), (reach + 0.1, 0.8), (reach + 0.055, 0.88), (reach - 0.055, 0.88)], colour)
    pen.ellipse(reach, 0.765, 0.08, 0.06, (255, 238, 150))
    if rng.random() < 0.4:
        pen.ellipse(0.0, 0.5, 0.045, 0.03, shade(colour, 1.2))


def hot_air_balloon(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Striped envelope, ropes, wicker basket."""
    second: Colour = [(248, 240, 220), (250, 214, 84), (96, 176, 214)][rng.integers(3)]
    for x in (-0.1, 0.1):
        pen.stroke([(x * 0.8, 0.14), (x * 2.0, 0.4)], 0.014, (96, 80, 64))
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 15)

    def outline(width: float) -> list[Point]:
        right = [(width * np.cos(a) * (1.0 if a > 0 else 0.9), 0.66 + 0.34 * np.sin(a)) for a in angles]
        return [*right, *[(-x, y) for x, y in reversed(right)]]

    for i, width in enumerate((0.38, 0.27, 0.16, 0.06)):
        pen.poly(outline(width), colour if i % 2 == 0 else second, edge=0.7 if i == 0 else None)
    pen.poly([(-0.13, 0.36), (0.13, 0.36), (0.08, 0.28), (-0.08, 0.28)], shade(colour, 0.7))
    pen.rect(-0.09, 0.0, 0.09, 0.15, (150, 104, 60))
    pen.rect(-0.105, 0.12, 0.105, 0.16, (112, 76, 44))


def fire_hydrant(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Stubby post with a dome, side caps and a base plate."""
    cap = (206, 206, 212) if rng.random() < 0.6 else shade(colour, 1.3)
    pen.rect(-0.3, 0.0, 0.3, 0.1, shade(colour, 0.85))
    pen.rect(-0.36, 0.44, 0.36, 0.62, cap)
    pen.rect(-0.22, 0.1, 0.22, 0.76, colour)
    pen.ellipse(0.0, 0.77, 0.25, 0.17, colour)
    pen.rect(-0.27, 0.7, 0.27, 0.77, shade(colour, 0.85))
    pen.rect(-0.06, 0.91, 0.06, 1.0, shade(colour, 0.9))
    pen.ellipse(0.0, 0.5, 0.13, 0.13, cap)
    pen.ellipse(0.0, 0.5, 0.05, 0.05, shade(cap, 0.7), edge=None)


def mushroom(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Pale stem under a domed cap with white dots."""
    bulge = rng.uniform(0.13, 0.19)
    pen.poly([(-bulge, 0.0), (bulge, 0.0), (0.11, 0.5), (-0.11, 0.5)], (240, 228, 204))
    pen.ellipse(0.0, 0.5, 0.34, 0.06, (226, 206, 176))
    dome = [(0.52 * np.cos(a), 0.47 + 0.52 * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
    pen.poly(dome, colour)
    for x, y, r in ((-0.26, 0.64, 0.07), (0.02, 0.83, 0.08), (0.28, 0.66, 0.075), (0.02, 0.6, 0.055), (-0.14, 0.78, 0.045)):
        pen.ellipse(x, y, r, r * 0.85, (252, 248, 238), edge=None)


DRAW: dict[str, Callable[[Pen, Colour, np.random.Generator], None]] = {
    "car": car,
    "bus": bus,
    "boat": boat,
    "house": house,
    "tree": tree,
    "cat": cat,
    "dog": dog,
    "sheep": sheep,
    "bird": bird,
    "traffic light": traffic_light,
    "street light": street_light,
    "hot air balloon": hot_air_balloon,
    "fire hydrant": fire_hydrant,
    "mushroom": mushroom,
}
