"""What is computed once: for each image, whatever else is in the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ovsslib.trained.once import Once


def test_each_image_is_computed_once() -> None:
    seen: list[int] = []

    def mean(pictures: np.ndarray) -> Tensor:
        seen.append(len(pictures))
        return torch.from_numpy(pictures.mean((1, 2))).float()

    once = Once(mean)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    expected = torch.from_numpy(pictures.mean((1, 2))).float()
    assert torch.equal(once(pictures), expected)
    assert torch.equal(once(pictures[[2, 0]]), expected[[2, 0]])
    more = np.concatenate([pictures[:1], pictures[:1] // 2, pictures[:1] // 2])
    assert torch.equal(once(more)[0], expected[0])
    assert torch.equal(once(more)[1], once(more)[2])
    assert seen == [3, 1]
