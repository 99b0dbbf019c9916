"""Colours of classes in figures: one for each name, told apart by colour-blind readers too.

Seven of the colours are those of Okabe and Ito (2008); the others were chosen one after another,
each as far as possible from those before it, in CIELAB, for readers with normal sight and without
red or green cones (Machado et al. 2009). A legend names the classes all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ovsslib.io.palette import voc_palette

FIXED: dict[str, tuple[int, int, int]] = {
    "car": (213, 94, 0),
    "bus": (204, 121, 167),
    "boat": (34, 17, 153),
    "house": (230, 159, 0),
    "tree": (51, 85, 68),
    "cat": (0, 0, 255),
    "dog": (119, 102, 51),
    "sheep": (221, 238, 238),
    "bird": (119, 102, 255),
    "traffic light": (204, 238, 119),
    "street light": (170, 255, 170),
    "hot air balloon": (0, 158, 115),
    "fire hydrant": (255, 153, 170),
    "mushroom": (0, 51, 119),
    "sky": (86, 180, 233),
    "grass": (102, 187, 102),
    "sand": (240, 228, 66),
    "water": (0, 114, 178),
    "road": (34, 51, 68),
    "brick wall": (85, 34, 0),
}
"""The classes of Diorama -> red, green, blue; the same in every figure of the book."""


def class_colours(names: Sequence[str]) -> np.ndarray:
    """Colours of classes, the same for a name whatever stands beside it, if Diorama has it.

    Args:
        names: K class names. Those that Diorama does not have take the colours that are left, in
            order, then PASCAL VOC's.

    Returns:
        (K, 3) uint8, red green blue; all differ as long as K is at most 200.

    Example:
        >>> class_colours(["sofa", "sky"]).tolist()
        [[213, 94, 0], [86, 180, 233]]
    """
    taken = {FIXED[name] for name in names if name in FIXED}
    more = (tuple(map(int, row)) for row in voc_palette()[1:255])
    left = (colour for colour in (*FIXED.values(), *more) if colour not in taken)
    found = [FIXED[name] if name in FIXED else next(left) for name in names]
    return np.array(found, np.uint8).reshape(-1, 3)
