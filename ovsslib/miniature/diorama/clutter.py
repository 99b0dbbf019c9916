"""Things without a label: they belong to the background (label 0)."""

from __future__ import annotations

import numpy as np

from ovsslib.miniature.diorama.canvas import Pen
from ovsslib.miniature.diorama.colours import PALETTE

CLUTTER = ("stone", "barrel", "flowers", "ball", "crate")


def draw_clutter(pen: Pen, name: str, rng: np.random.Generator) -> None:
    """Draw one piece of clutter by name."""
    if name == "stone":
        pen.poly(
            [(-0.7, 0), (-0.62, 0.5), (-0.2, 0.9), (0.35, 0.8), (0.7, 0.35), (0.72, 0)],
            (132, 128, 124),
        )
        pen.poly([(-0.5, 0.45), (-0.18, 0.78), (0.1, 0.7), (-0.1, 0.4)], (164, 160, 156), edge=None)
    elif name == "barrel":
        pen.poly(
            [(-0.34, 0), (-0.42, 0.5), (-0.34, 1), (0.34, 1), (0.42, 0.5), (0.34, 0)],
            (150, 108, 66),
        )
        for y in (0.2, 0.75):
            pen.rect(-0.41, y, 0.41, y + 0.08, (92, 92, 98), edge=None)
    elif name == "flowers":
        for _ in range(5):
            x, top = rng.uniform(-0.8, 0.8), rng.uniform(0.5, 1.0)
            pen.stroke([(x, 0), (x, top)], 0.09, (70, 120, 60))
            pen.ellipse(
                x, top, 0.2, 0.2, PALETTE[str(rng.choice(["pink", "yellow", "white", "purple"]))]
            )
            pen.ellipse(x, top, 0.07, 0.07, (240, 200, 80), edge=None)
    elif name == "ball":
        pen.ellipse(0, 0.5, 0.5, 0.5, PALETTE[str(rng.choice(["red", "blue", "white"]))])
        pen.poly([(-0.5, 0.58), (0.5, 0.58), (0.5, 0.42), (-0.5, 0.42)], (250, 240, 220), edge=None)
    else:
        pen.rect(-0.5, 0, 0.5, 0.9, (176, 136, 84))
        pen.stroke([(-0.48, 0.02), (0.48, 0.88)], 0.09, (128, 94, 54))
        pen.stroke([(-0.48, 0.88), (0.48, 0.02)], 0.09, (128, 94, 54))
