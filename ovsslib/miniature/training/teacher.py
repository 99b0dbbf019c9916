"""A teacher that is the moving average of its student: the momentum, and a step of it."""

from __future__ import annotations

import math

import torch
from torch import nn


def rising(momentum: float, done: float) -> float:
    """A momentum that rises to 1 along half a cosine.

    Source: Grill et al. 2020 (NeurIPS, BYOL), as Caron et al. 2021 (ICCV, DINO) have it.

    Args:
        momentum: At first, 0..1.
        done: Share of the steps that is done, 0..1.

    Example:
        >>> [rising(0.9, done) for done in (0.0, 0.5, 1.0)]
        [0.9, 0.95, 1.0]
    """
    return 1 - (1 - momentum) * (1 + math.cos(math.pi * done)) / 2


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a teacher's weights towards those of its student, by 1 - momentum of the distance.

    Args:
        teacher: Changed; built as the student is.
        student: Not changed.
        momentum: 0..1.
    """
    for own, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        own.lerp_(theirs, 1 - momentum)
