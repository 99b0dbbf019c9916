"""Types that several packages share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike
    from typing import BinaryIO

    import numpy as np
    import torch
    from PIL import Image

    ImageLike = str | PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray | torch.Tensor
    """An image: see `ovsslib.io.images.open_image`."""

Progress = Callable[..., Iterable[Any]]
"""`progress(items, description, total)` gives the items and shows how far they are."""
