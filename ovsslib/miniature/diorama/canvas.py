"""An image and its instance map, drawn together.

Pillow draws polygons without anti-aliasing, so shapes are drawn `scale` times too large and
averaged down; the instance map is sampled at pixel centres, so both agree to half a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (`factor < 1`) or lighter (`> 1`) version of an RGB colour in [0, 255]."""
    return tuple(int(min(255, max(0, c * factor))) for c in colour)  # type: ignore[return-value]


class Canvas:
    """RGB image of `width` x `height` pixels with an instance id per pixel (0 to 255)."""

    def __init__(self, width: int, height: int, scale: int = 3) -> None:
        self.width, self.height, self.scale = width, height, scale
        size = (width * scale, height * scale)
        self.picture = Image.new("RGB", size)
        self.instances = Image.new("L", size)
        self.draw = ImageDraw.Draw(self.picture)
        self.draw_id = ImageDraw.Draw(self.instances)

    def polygon(self, points: Sequence[Point], colour: Colour, instance: int | None) -> None:
        """Fill a polygon given in pixels; `instance=None` leaves the instance map alone."""
        scaled = [(x * self.scale, y * self.scale) for x, y in points]
        self.draw.polygon(scaled, fill=colour)
        if instance is not None:
            self.draw_id.polygon(scaled, fill=instance)

    def texture(self, points: Sequence[Point], pixels: np.ndarray, instance: int) -> None:
        """Paste a texture `(H * scale, W * scale, 3)` uint8 inside a polygon given in pixels."""
        mask = Image.new("1", self.picture.size)
        scaled = [(x * self.scale, y * self.scale) for x, y in points]
        ImageDraw.Draw(mask).polygon(scaled, fill=1)
        self.picture.paste(Image.fromarray(pixels), (0, 0), mask)
        self.draw_id.polygon(scaled, fill=instance)

    def pixels(self) -> np.ndarray:
        """The finished image, `(H, W, 3)` float32 in [0, 255]."""
        small = self.picture.resize((self.width, self.height), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32)

    def instance_map(self) -> np.ndarray:
        """Instance id at every pixel centre, `(H, W)` uint8."""
        half = self.scale // 2
        return np.asarray(self.instances)[half :: self.scale, half :: self.scale].copy()


@dataclass
class Pen:
    """Draws one object in its own coordinates: x to the right, y up, foot at the origin, height 1.

    Attributes:
        canvas: Where to draw.
        x, y: the foot, in pixels.
        size: Height of the object in pixels.
        instance: Id written to the instance map.
        flip: -1 mirrors the object, 1 does not.
        tilt: Rotation about the foot in radians.
        stretch: Width factor.
    """

    canvas: Canvas
    x: float
    y: float
    size: float
    instance: int
    flip: int = 1
    tilt: float = 0.0
    stretch: float = 1.0

    def place(self, point: Point) -> Point:
        """Object coordinates to pixels."""
        px, py = point[0] * self.flip * self.stretch, point[1]
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return self.x + self.size * (px * c - py * s), self.y - self.size * (px * s + py * c)

    def poly(self, points: Sequence[Point], colour: Colour, edge: float | None = 0.62) -> None:
        """Filled polygon with a darker edge (`edge` is its brightness; `None` for no edge)."""
        placed = [self.place(p) for p in points]
        self.canvas.polygon(placed, colour, self.instance)
        if edge is not None:
            scaled = [(x * self.canvas.scale, y * self.canvas.scale) for x, y in placed]
            width = max(1, round(self.size * self.canvas.scale * 0.012))
            self.canvas.draw.line(
                [*scaled, scaled[0], scaled[1]], fill=shade(colour, edge), width=width
            )

    def rect(
        self, x0: float, y0: float, x1: float, y1: float, colour: Colour, **kw: float | None
    ) -> None:
        """Filled rectangle between two corners."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, **kw)

    def ellipse(
        self, cx: float, cy: float, rx: float, ry: float, colour: Colour, edge: float | None = 0.62
    ) -> None:
        """Filled ellipse around `(cx, cy)` with radii `rx` and `ry`."""
        angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        points = [(cx + rx * np.cos(a), cy + ry * np.sin(a)) for a in angles]
        self.poly(points, colour, edge)

    def stroke(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Polyline of the given width (fraction of the object's height), with round joints."""
        for (x0, y0), (x1, y1) in pairwise(points):
            length = float(np.hypot(x1 - x0, y1 - y0)) or 1.0
            nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
            self.poly(
                [(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)],
                colour,
                edge=None,
            )
        for px, py in points[1:-1]:
            self.ellipse(px, py, width / 2, width / 2, colour, edge=None)
