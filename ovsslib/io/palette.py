"""Colours of label files: PASCAL VOC's colour map; and the readable ink to write on a colour.

The map is the official one (VOC development kit, `VOClabelcolormap`): the bits of the class id
are spread over the high bits of red, green and blue, so that neighbouring ids look different.
"""

from __future__ import annotations

import numpy as np

VOID = 255
"""The label of pixels that are not scored (object borders)."""


def voc_palette() -> np.ndarray:
    """The 256 colours of PASCAL VOC.

    Returns:
        (256, 3) uint8, red green blue; entry 0 is black, entry 255 the cream of the void border.

    Example:
        >>> voc_palette()[[0, 1, 2, 15, 255]].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette


def ink(colour: np.ndarray) -> tuple[int, int, int]:
    """Black or white, whichever is easier to read on `colour`.

    Args:
        colour: (3,) red green blue, 0..255.

    Returns:
        The ink's red, green, blue.

    Example:
        >>> ink(np.array([128, 0, 0])), ink(np.array([224, 224, 192]))
        ((255, 255, 255), (0, 0, 0))
    """
    unit = np.asarray(colour, np.float64) / 255.0
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    # Where black and white have the same contrast (WCAG 2.1): (l + .05) / .05 = 1.05 / (l + .05).
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)
