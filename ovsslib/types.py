"""Types that several packages share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np
    from PIL import Image

    ImageLike = str | PathLike[str] | Image.Image | np.ndarray
    """An image: a path, a PIL image, or an (H, W, 3) uint8 array."""

Progress = Callable[..., Iterable[Any]]
"""`progress(items, description, total)` gives the items and shows how far they are."""
