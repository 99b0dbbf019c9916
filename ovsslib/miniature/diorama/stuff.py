"""Textures of the six stuff classes, each `(h, w, 3)` uint8 in [0, 255] at drawing resolution.

`unit` is the number of drawing pixels per image pixel, so that strokes keep their size
whatever the supersampling.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from ovsslib.miniature.diorama.canvas import Colour, shade

STUFF_COLOURS: dict[str, dict[str, Colour]] = {
    "sky": {"blue": (136, 190, 236), "grey": (186, 194, 204), "orange": (246, 190, 138)},
    "grass": {"green": (112, 172, 78), "yellow": (178, 182, 86)},
    "sand": {"yellow": (232, 208, 150), "white": (240, 228, 200)},
    "water": {"blue": (66, 130, 188), "green": (72, 152, 150)},
    "road": {"grey": (120, 120, 126), "black": (84, 84, 90)},
    "brick wall": {"red": (176, 84, 66), "brown": (148, 108, 80), "grey": (158, 152, 146)},
}


def _speckle(shape: tuple[int, int], cell: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in [-1, 1] of `shape` with blobs of about `cell` pixels."""
    coarse = rng.uniform(-1, 1, (shape[0] // cell + 2, shape[1] // cell + 2)).astype(np.float32)
    image = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _base(colour: Colour, noise: np.ndarray, strength: float) -> np.ndarray:
    flat = np.asarray(colour, dtype=np.float32) + strength * noise[..., None]
    return np.clip(flat, 0, 255).astype(np.uint8)


def sky(shape: tuple[int, int], colour: Colour, unit: int, rng: np.random.Generator) -> np.ndarray:
    """Vertical gradient with soft clouds, now and then a sun."""
    h, w = shape
    fade = np.linspace(0.86, 1.18, h, dtype=np.float32)[:, None, None]
    image = Image.fromarray(
        np.clip(np.asarray(colour, dtype=np.float32) * fade + np.zeros((h, w, 1)), 0, 255).astype(
            np.uint8
        )
    )
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.3:
        x, y, radius = rng.uniform(0.1, 0.9) * w, rng.uniform(0.04, 0.2) * h, 9 * unit
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(255, 236, 150))
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(0, w), rng.uniform(0, 0.5 * h)
        size = rng.uniform(5, 12) * unit
        for dx in (-1.1, -0.4, 0.4, 1.1):
            r = size * rng.uniform(0.55, 0.9)
            cx = x + dx * size
            draw.ellipse(
                [cx - 1.2 * r, y - 0.6 * r, cx + 1.2 * r, y + 0.6 * r], fill=shade(colour, 1.3)
            )
    return np.asarray(image)


def grass(
    shape: tuple[int, int], colour: Colour, unit: int, rng: np.random.Generator
) -> np.ndarray:
    """Mottled green with short upright blades."""
    h, w = shape
    image = Image.fromarray(_base(colour, _speckle(shape, 14 * unit, rng), 14))
    draw = ImageDraw.Draw(image)
    for x, y, f in zip(
        rng.uniform(0, w, 520), rng.uniform(0, h, 520), rng.uniform(0.72, 1.22, 520), strict=True
    ):
        lean, tall = rng.uniform(-1.5, 1.5) * unit, rng.uniform(2.5, 5) * unit
        draw.line([x, y, x + lean, y - tall], fill=shade(colour, f), width=unit)
    return np.asarray(image)


def sand(shape: tuple[int, int], colour: Colour, unit: int, rng: np.random.Generator) -> np.ndarray:
    """Pale grain with dots and faint ripples."""
    h, w = shape
    image = Image.fromarray(_base(colour, _speckle(shape, 18 * unit, rng), 8))
    draw = ImageDraw.Draw(image)
    for x, y, f in zip(
        rng.uniform(0, w, 900), rng.uniform(0, h, 900), rng.uniform(0.74, 1.1, 900), strict=True
    ):
        draw.ellipse([x, y, x + 0.9 * unit, y + 0.9 * unit], fill=shade(colour, f))
    return np.asarray(image)


def water(
    shape: tuple[int, int], colour: Colour, unit: int, rng: np.random.Generator
) -> np.ndarray:
    """Flat blue with rows of light and dark wavelets."""
    h, w = shape
    image = Image.fromarray(_base(colour, _speckle(shape, 22 * unit, rng), 7))
    draw = ImageDraw.Draw(image)
    for y in np.arange(0, h, 5.5 * unit):
        for x in np.arange(rng.uniform(-12, 0) * unit, w, 13 * unit):
            x0, y0, r = x + rng.uniform(-2, 2) * unit, y + rng.uniform(-1.5, 1.5) * unit, 3.6 * unit
            tone = shade(colour, 1.35 if rng.random() < 0.6 else 0.8)
            draw.arc([x0, y0, x0 + 2 * r, y0 + r], 200, 340, fill=tone, width=unit)
    return np.asarray(image)


def road(shape: tuple[int, int], colour: Colour, unit: int, rng: np.random.Generator) -> np.ndarray:
    """Asphalt with grit and rows of white dashes."""
    h, w = shape
    grit = (
        rng.uniform(-1, 1, (h // unit + 1, w // unit + 1)).repeat(unit, 0).repeat(unit, 1)[:h, :w]
    )
    image = Image.fromarray(_base(colour, grit.astype(np.float32), 9))
    draw = ImageDraw.Draw(image)
    pitch = 30 * unit
    for y in np.arange(rng.uniform(0.2, 1) * pitch, h, pitch):
        for x in np.arange(rng.uniform(-20, 0) * unit, w, 26 * unit):
            draw.polygon(
                [
                    (x, y),
                    (x + 14 * unit, y),
                    (x + 13 * unit, y + 2.6 * unit),
                    (x - unit, y + 2.6 * unit),
                ],
                fill=(232, 230, 216),
            )
    return np.asarray(image)


def brick_wall(
    shape: tuple[int, int], colour: Colour, unit: int, rng: np.random.Generator
) -> np.ndarray:
    """Courses of bricks in varied tones between light mortar."""
    h, w = shape
    image = Image.new("RGB", (w, h), shade(colour, 0.5) if sum(colour) > 420 else (206, 196, 184))
    draw = ImageDraw.Draw(image)
    height, length = int(rng.uniform(7, 9) * unit), int(rng.uniform(15, 19) * unit)
    for row, y in enumerate(range(0, h, height)):
        for x in range(-length if row % 2 else -length // 2, w, length):
            tone = shade(colour, rng.uniform(0.84, 1.12))
            draw.rectangle([x, y, x + length - 1.6 * unit, y + height - 1.6 * unit], fill=tone)
    return np.asarray(image)


TEXTURE: dict[str, Callable[[tuple[int, int], Colour, int, np.random.Generator], np.ndarray]] = {
    "sky": sky,
    "grass": grass,
    "sand": sand,
    "water": water,
    "road": road,
    "brick wall": brick_wall,
}
