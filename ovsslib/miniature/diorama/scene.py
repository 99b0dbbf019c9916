"""What stands where: a scene is drawn up as data first, then painted.

A `Scene` is a pure function of its seed and settings; `render` turns it into a
image and its exact mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from ovsslib.miniature.diorama.canvas import Canvas, Pen, Point, shade
from ovsslib.miniature.diorama.classes import CLASSES, THINGS
from ovsslib.miniature.diorama.clutter import CLUTTER, draw_clutter
from ovsslib.miniature.diorama.colours import COLOURS, HELD_OUT, PALETTE
from ovsslib.miniature.diorama.stuff import STUFF_COLOURS, TEXTURE
from ovsslib.miniature.diorama.things import DRAW

VOID = 255
# Height of a thing that stands in the foreground, as a fraction of the image's shorter side.
HEIGHT: dict[str, float] = {
    "car": 0.30,
    "bus": 0.40,
    "boat": 0.46,
    "house": 0.62,
    "tree": 0.66,
    "cat": 0.32,
    "dog": 0.34,
    "sheep": 0.32,
    "bird": 0.25,
    "traffic light": 0.58,
    "street light": 0.70,
    "hot air balloon": 0.52,
    "fire hydrant": 0.32,
    "mushroom": 0.30,
}
AIRBORNE = frozenset({"hot air balloon", "bird"})
HOME: dict[str, tuple[str, ...]] = {
    "car": ("road",),
    "bus": ("road",),
    "boat": ("water",),
    "traffic light": ("road",),
    "street light": ("road", "brick wall"),
    "fire hydrant": ("road", "brick wall"),
    "sheep": ("grass",),
    "tree": ("grass",),
    "mushroom": ("grass",),
    "house": ("grass", "sand"),
    "dog": ("grass", "sand"),
    "cat": ("brick wall", "grass"),
}


@dataclass(frozen=True)
class Band:
    """A stuff region between two wavy lines; `top` and `bottom` are fractions of the height."""

    name: str
    colour: str
    top: float
    bottom: float


@dataclass(frozen=True)
class Item:
    """A thing or a piece of clutter. `x`, `y` is its foot and `size` its height in pixels."""

    name: str
    colour: str
    x: float
    y: float
    size: float
    flip: int
    tilt: float
    stretch: float
    ground: str


@dataclass(frozen=True)
class Scene:
    """Everything that an image and its captions are made from."""

    seed: int
    width: int
    height: int
    bands: tuple[Band, ...]
    items: tuple[Item, ...]

    @property
    def things(self) -> tuple[Item, ...]:
        """The labelled items, clutter left out."""
        return tuple(i for i in self.items if i.name in THINGS)


def _bands(rng: np.random.Generator, close_up: bool) -> tuple[Band, ...]:
    grounds = ["grass", "sand", "water", "road"]
    first, second = rng.choice(grounds, 2, replace=False)
    horizon, split = rng.uniform(0.36, 0.54), rng.uniform(0.64, 0.78)
    layouts: list[tuple[tuple[str, float, float], ...]] = [
        (("sky", 0, horizon), (first, horizon, 1)),
        (("sky", 0, horizon - 0.06), (first, horizon - 0.06, split), (second, split, 1)),
        (("brick wall", 0, horizon + 0.06), (first, horizon + 0.06, 1)),
        (
            ("sky", 0, horizon - 0.16),
            ("brick wall", horizon - 0.16, horizon + 0.1),
            (first, horizon + 0.1, 1),
        ),
        ((rng.choice([*grounds, "sky", "brick wall"]), 0, 1),),
    ]
    odds = (0.15, 0.05, 0.2, 0.05, 0.55) if close_up else (0.25, 0.33, 0.17, 0.22, 0.03)
    chosen = layouts[rng.choice(len(layouts), p=odds)]
    return tuple(
        Band(str(name), str(rng.choice(list(STUFF_COLOURS[str(name)]))), top, bottom)
        for name, top, bottom in chosen
    )


def _ground(bands: tuple[Band, ...], y: float) -> str:
    return next((b.name for b in bands if b.top <= y <= b.bottom), bands[-1].name)


def _pick_things(
    rng: np.random.Generator, bands: tuple[Band, ...], n: int, novel: bool
) -> list[tuple[str, str]]:
    present = {b.name for b in bands}
    picked: list[tuple[str, str]] = []
    while len(picked) < n:
        name = str(rng.choice(THINGS))
        # Things keep to plausible ground most of the time, so that context helps but does not tell.
        stray = name in HOME and not present & set(HOME[name])
        if name in {p[0] for p in picked} or (stray and rng.random() < 0.6):
            continue
        colours = [c for c in COLOURS[name] if novel or (c, name) not in HELD_OUT]
        picked.append((name, str(rng.choice(colours))))
    return picked


def compose(seed: int, *, close_up: bool = False, novel: bool = True) -> Scene:
    """Draw up one scene.

    Args:
        seed: The scene's only source of randomness.
        close_up: One large object, as in images found on the web; otherwise 2 to 4 things.
        novel: Allow the (colour, thing) pairs of `HELD_OUT`; False for training.

    Returns:
        A scene of about 200 x 150 pixels: landscape, portrait or square.
    """
    rng = np.random.default_rng([seed, int(close_up), 7])
    width, height = [(200, 150), (208, 144), (150, 200), (168, 168)][
        rng.choice(4, p=[0.4, 0.2, 0.2, 0.2])
    ]
    short = min(width, height)
    bands = _bands(rng, close_up)
    items: list[Item] = []
    if close_up:
        [(name, colour)] = _pick_things(rng, bands, 1, novel)
        size = short * HEIGHT[name] ** 0.35 * rng.uniform(0.85, 1.15)
        x, y = width * rng.uniform(0.38, 0.62), height * rng.uniform(0.82, 0.99)
        items.append(_item(rng, name, colour, x, y, size, _ground(bands, y / height)))
    else:
        picked = _pick_things(rng, bands, int(rng.choice([2, 3, 4], p=[0.3, 0.45, 0.25])), novel)
        slots = rng.permutation(len(picked))
        floor = bands[0].bottom if len(bands) > 1 else 0.5
        for (name, colour), slot in zip(picked, slots, strict=True):
            x = width * (slot + rng.uniform(0.3, 0.7)) / len(picked)
            aloft = name in AIRBORNE and rng.random() < 0.75
            depth = rng.uniform(0.15, 1.0)
            homes = [b for b in bands if b.name in HOME.get(name, ()) and b.name != "brick wall"]
            if aloft:
                y = height * rng.uniform(0.34, 0.62)
            elif homes and rng.random() < 0.85:
                y = height * (
                    homes[0].top + (homes[0].bottom - homes[0].top) * (0.25 + 0.7 * depth)
                )
            else:
                y = height * (floor + (0.98 - floor) * depth)
            near = 1.0 if aloft else 0.72 + 0.38 * (y / height - floor) / (1 - floor)
            size = short * HEIGHT[name] * near * rng.uniform(0.85, 1.15)
            items.append(
                _item(rng, name, colour, x, y, size, "sky" if aloft else _ground(bands, y / height))
            )
        for _ in range(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25])):
            x, y = (
                width * rng.uniform(0.04, 0.96),
                height * rng.uniform(max(floor + 0.08, 0.6), 0.99),
            )
            what = str(rng.choice(CLUTTER))
            items.append(_item(rng, what, "", x, y, short * rng.uniform(0.08, 0.14), ""))
    items.sort(key=lambda item: item.y)
    return Scene(seed, width, height, bands, tuple(items))


def _item(
    rng: np.random.Generator, name: str, colour: str, x: float, y: float, size: float, ground: str
) -> Item:
    flip = int(rng.choice([-1, 1]))
    return Item(
        name, colour, x, y, size, flip, float(rng.normal(0, 0.035)), rng.uniform(0.9, 1.1), ground
    )


def _outline(scene: Scene, band: Band, rng: np.random.Generator) -> list[Point]:
    """The band's upper edge as a gentle wave (walls are straight), closed along the bottom."""
    w, h = scene.width, scene.height
    flat = band.name in ("brick wall", "sky") or band.top == 0
    swing = 0.0 if flat else rng.uniform(0.006, 0.025) * h
    phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.3)
    xs = np.linspace(-2, w + 2, 40)
    top = [
        (float(x), float(band.top * h + swing * np.sin(phase + waves * 2 * np.pi * x / w)))
        for x in xs
    ]
    return [*top, (w + 2, h + 2), (-2, h + 2)]


def render(scene: Scene, scale: int = 3) -> tuple[Image.Image, np.ndarray]:
    """Paint a scene.

    Args:
        scene: From `compose`.
        scale: Supersampling per side; 1 is fastest and jagged.

    Returns:
        The RGB image and its mask `(H, W)` uint8: 0 background (clutter), 1..20 the classes,
        255 on the outer border of things, as Pascal VOC does.
    """
    rng = np.random.default_rng([scene.seed, 11])
    canvas = Canvas(scene.width, scene.height, scale)
    shape = (scene.height * scale, scene.width * scale)
    class_of = np.zeros(256, dtype=np.uint8)
    thing = np.zeros(256, dtype=bool)
    for number, band in enumerate(scene.bands, start=1):
        colour = shade(STUFF_COLOURS[band.name][band.colour], rng.uniform(0.92, 1.06))
        pixels = TEXTURE[band.name](shape, colour, scale, rng)
        canvas.texture(_outline(scene, band, rng), pixels, number)
        class_of[number] = CLASSES.index(band.name) + 1
    for number, item in enumerate(scene.items, start=10):
        pen = Pen(canvas, item.x, item.y, item.size, number, item.flip, item.tilt, item.stretch)
        if item.name in DRAW:
            DRAW[item.name](pen, shade(PALETTE[item.colour], rng.uniform(0.88, 1.1)), rng)
            class_of[number], thing[number] = CLASSES.index(item.name) + 1, True
        else:
            draw_clutter(pen, item.name, rng)
    ids = canvas.instance_map()
    mask = class_of[ids]
    mask[_borders(ids, thing)] = VOID
    return _light(canvas.pixels(), rng), mask


def _borders(ids: np.ndarray, thing: np.ndarray) -> np.ndarray:
    """Pixels just outside a nearer thing: thin objects keep all of their own pixels."""
    padded = np.pad(ids, 1, mode="edge")
    h, w = ids.shape
    around = [padded[dy : dy + h, dx : dx + w] for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2))]
    return np.any([(n > ids) & thing[n] for n in around], axis=0)


def _light(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Uneven light, a little blur and sensor noise."""
    h, w, _ = pixels.shape
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, w)[None] * np.cos(angle) + np.linspace(-1, 1, h)[:, None] * np.sin(
        angle
    )
    lit = pixels * (rng.uniform(0.9, 1.06) + 0.07 * ramp[..., None])
    lit = lit + rng.normal(0, rng.uniform(0.5, 4.0), pixels.shape)
    image = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.7))))
