"""One look at an image for many lists of names: features of patches do not depend on names."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ovsslib.peers.dense import DenseClip

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.pnp.result import Segmenter


@contextlib.contextmanager
def features_kept(method: Segmenter) -> Iterator[None]:
    """Within it, `DenseClip.features` of pixels that were there before are looked up.

    Pixels are recognised by their values, so that windows and turned images are found as well.
    Copies that are made within (`DenseClip.for_protocol`) share what is kept. It is forgotten at
    the end: enter it once a batch of images, and go through the lists of names inside.

    Args:
        method: Any; one that is no `DenseClip` computes as ever.
    """
    if not isinstance(method, DenseClip):
        yield
        return
    kept: dict[tuple[tuple[int, ...], bytes], Tensor] = {}
    compute = method.features

    def features(pixels: Tensor) -> Tensor:
        key = tuple(pixels.shape), hashlib.sha256(pixels.cpu().numpy().tobytes()).digest()
        if key not in kept:
            kept[key] = compute(pixels)
        return kept[key]

    method.features = features  # type: ignore[method-assign]
    try:
        yield
    finally:
        del method.features
        kept.clear()
