"""How the four animals are drawn; the conventions are those of `things`."""

from __future__ import annotations

import numpy as np

from ovsslib.miniature.diorama.canvas import Colour, Pen, shade
from ovsslib.miniature.diorama.colours import DARK, PALETTE


def _legs(pen: Pen, xs: tuple[float, ...], top: float, width: float, colour: Colour) -> None:
    for x in xs:
        pen.rect(x - width / 2, 0.0, x + width / 2, top, colour)


def cat(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Slim striped body, tail up, round head with pointed ears and whiskers."""
    tail = rng.uniform(0.75, 0.98)
    pen.stroke(
        [(-0.42, 0.42), (-0.6, 0.55), (-0.62, tail), (-0.5, tail + 0.02)], 0.085, shade(colour, 0.9)
    )
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
    pen.ellipse(
        rng.uniform(-0.3, 0.0),
        0.52,
        0.13,
        0.1,
        shade(colour, 0.55 if sum(colour) > 300 else 2.0),
        edge=None,
    )
    pen.ellipse(0.42, 0.8, 0.21, 0.19, colour)
    pen.poly([(0.5, 0.64), (0.8, 0.66), (0.82, 0.76), (0.56, 0.84)], shade(colour, 1.12))
    pen.ellipse(0.8, 0.75, 0.05, 0.04, DARK)
    pen.poly(
        [(0.22, 0.94), (0.36, 0.96), (0.35, 0.62), (0.24, 0.58), (0.17, 0.7)], shade(colour, 0.6)
    )
    pen.ellipse(0.5, 0.85, 0.03, 0.035, DARK, edge=None)
    pen.stroke([(0.26, 0.63), (0.5, 0.6)], 0.06, PALETTE["red"])


def sheep(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    """Cloud of wool on thin dark legs with a dark face."""
    face = (64, 56, 58) if sum(colour) > 330 else (196, 180, 164)
    _legs(pen, (-0.34, -0.2, 0.14, 0.28), 0.36, 0.065, face)
    for a in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        wobble = rng.uniform(0.92, 1.05)
        pen.ellipse(
            -0.04 + 0.38 * np.cos(a) * wobble,
            0.56 + 0.22 * np.sin(a) * wobble,
            0.15,
            0.135,
            shade(colour, rng.uniform(0.9, 1.0)),
        )
    pen.ellipse(-0.04, 0.56, 0.42, 0.24, colour, edge=None)
    for _ in range(7):
        pen.ellipse(
            rng.uniform(-0.34, 0.26),
            rng.uniform(0.42, 0.7),
            0.05,
            0.035,
            shade(colour, 0.86),
            edge=None,
        )
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
