"""How each of the fourteen things is drawn: a plain body and the parts that tell it apart.

Every function takes a `ovsslib.miniature.diorama.canvas.Pen`, the body's colour and a
random generator for the layout of the parts. Object coordinates: foot at (0, 0), height 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ovsslib.miniature.diorama.animals import bird, cat, dog, sheep
from ovsslib.miniature.diorama.canvas import Colour, Pen, Point, shade
from ovsslib.miniature.diorama.colours import GLASS, PALETTE, TYRE


def car(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Low body, cabin with windows, two wheels, lamps."""
    cabin = rng.uniform(-0.15, 0.15)
    pen.poly(
        [(-0.62 + cabin, 0.5), (-0.36 + cabin, 0.98), (0.34 + cabin, 0.98), (0.62 + cabin, 0.5)],
        colour,
    )
    pen.poly(
        [(-0.5 + cabin, 0.54), (-0.31 + cabin, 0.9), (-0.03 + cabin, 0.9), (-0.03 + cabin, 0.54)],
        GLASS,
    )
    pen.poly(
        [(0.04 + cabin, 0.54), (0.04 + cabin, 0.9), (0.29 + cabin, 0.9), (0.48 + cabin, 0.54)],
        GLASS,
    )
    pen.poly(
        [(-0.98, 0.2), (-0.98, 0.46), (-0.8, 0.56), (0.85, 0.56), (1.0, 0.44), (1.0, 0.2)], colour
    )
    pen.rect(-0.97, 0.28, 0.99, 0.33, shade(colour, 0.75), edge=None)
    pen.ellipse(0.92, 0.43, 0.06, 0.06, (255, 244, 190))
    pen.ellipse(-0.93, 0.43, 0.04, 0.06, (190, 40, 40))
    for x in (-0.55, 0.58):
        pen.ellipse(x, 0.2, 0.2, 0.2, TYRE)
        pen.ellipse(x, 0.2, 0.09, 0.09, (190, 190, 196))


def bus(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Long tall box with a row of windows, a door and two wheels."""
    pen.poly(
        [(-1.15, 0.14), (-1.15, 0.9), (-1.08, 1.0), (1.08, 1.0), (1.15, 0.9), (1.15, 0.14)], colour
    )
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
    pen.poly(
        [(-0.04, 0.3), (-0.04, 0.84), (-0.42, 0.32)],
        shade(PALETTE["red"], 1.1) if rng.random() < 0.4 else (232, 226, 208),
    )
    pen.poly([(0.0, 1.0), (0.0, 0.93), (-0.14, 0.965)], PALETTE["red"], edge=None)
    pen.poly([(-0.72, 0.25), (0.76, 0.25), (0.55, 0.0), (-0.52, 0.0)], colour)
    pen.poly(
        [(-0.72, 0.25), (0.76, 0.25), (0.72, 0.19), (-0.68, 0.19)], shade(colour, 1.25), edge=None
    )


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
        pen.ellipse(
            r * np.cos(a) * 1.1,
            0.69 + r * np.sin(a) * 0.9,
            0.17,
            0.155,
            shade(colour, rng.uniform(0.8, 1.0)),
            edge=None,
        )
    for _ in range(7):
        a, r = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.24)
        pen.ellipse(
            r * np.cos(a), 0.72 + r * np.sin(a) * 0.8, 0.055, 0.05, shade(colour, 1.22), edge=None
        )


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
    arc: list[Point] = [
        (reach / 2 - reach / 2 * np.cos(a), 0.86 + 0.1 * np.sin(a))
        for a in np.linspace(0, np.pi, 9)
    ]
    pen.stroke(arc, 0.04, colour)
    pen.poly(
        [(reach - 0.1, 0.8), (reach + 0.1, 0.8), (reach + 0.055, 0.88), (reach - 0.055, 0.88)],
        colour,
    )
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
        right = [
            (width * np.cos(a) * (1.0 if a > 0 else 0.9), 0.66 + 0.34 * np.sin(a)) for a in angles
        ]
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
    for x, y, r in (
        (-0.26, 0.64, 0.07),
        (0.02, 0.83, 0.08),
        (0.28, 0.66, 0.075),
        (0.02, 0.6, 0.055),
        (-0.14, 0.78, 0.045),
    ):
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
