"""A study of the reward made by hand."""

from __future__ import annotations

import numpy as np

from ovsslib.tuning.candidates import Candidate
from ovsslib.tuning.search import Space
from ovsslib.tuning.study.file import Study

SPACE = Space((1, 2), (None, 1, 2), (0.05, 0.25), (0.03, 0.05))
IMAGES = 12


def made(rewards: np.ndarray | None = None, absent: str = "count") -> Study:
    """12 images, 24 candidates and the preset's; candidate c is right on 10 c pixels of 1000."""
    rng = np.random.default_rng(3)
    count = len(SPACE.grid()) + 1
    truth = np.full((IMAGES, 4), 1000)
    truth[:, 3] = 0
    right = 10 * np.arange(count)[:, None, None] + rng.integers(0, 3, (count, IMAGES, 4))
    right[..., 3] = 0
    predicted = right + 100
    predicted[0, :, 3] = 0
    plain = np.tile(np.arange(count)[:, None] / count, (1, IMAGES))
    given = np.stack([plain if rewards is None else rewards, plain])
    return Study(
        SPACE,
        Candidate(1, None, 0.1, 0.1),
        tuple(f"p{number}" for number in range(IMAGES)),
        np.full(IMAGES, 2),
        ("paper", "plain"),
        given.astype(np.float32),
        right.astype(np.int32),
        predicted.astype(np.int32),
        truth.astype(np.int32),
        (1, 2, 3),
        absent,
        {},
    )
