"""No result comes out of numbers that are not finite: weights and scores are looked through."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from torch import nn


def check_weights(module: nn.Module, where: str) -> None:
    """Look through a network's weights, once, when it is loaded (0.2 s per thousand million).

    Args:
        module: In the type and on the device in which it will compute.
        where: The checkpoint, for messages.

    Raises:
        OvssError: A weight is NaN or infinite; the message names the first such tensor.
    """
    for name, value in module.state_dict().items():
        if value.is_meta or not value.is_floating_point() or not value.numel():
            continue
        # NaN comes out at both ends. This is 30 times as fast as asking every number.
        if not all(math.isfinite(end.item()) for end in value.aminmax()):
            half = ", or load it in float32" if value.itemsize < 4 else ""
            raise OvssError(
                f"{where}: the weight {name} holds NaN or infinite values; fetch the checkpoint "
                f"again{half}"
            )


def check_scores(values: np.ndarray, whose: str) -> None:
    """Look through what a model has computed.

    Args:
        values: Scores or salience maps of one image.
        whose: The image and the model, for messages.

    Raises:
        OvssError: A value is NaN or infinite.

    Example:
        >>> check_scores(np.array([0.5, np.nan]), "photo.jpg: micro-blip")
        Traceback (most recent call last):
        ovsslib.errors.OvssError: photo.jpg: micro-blip: scores are NaN or infinite; load the \
model in float32, or fetch it again
    """
    if not np.isfinite(values).all():
        raise OvssError(
            f"{whose}: scores are NaN or infinite; load the model in float32, or fetch it again"
        )
