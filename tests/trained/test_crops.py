"""What a teacher sees of an image: cells of grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from ovsslib.miniature.training.blip import normalise
from ovsslib.trained.crops import cells, views
from ovsslib.trained.frozen import Frozen
from support.tiny_clip import tiny


def test_cells_row_by_row() -> None:
    picture = np.arange(7 * 7).reshape(1, 7, 7, 1).repeat(3, -1).astype(np.uint8)
    found = cells(picture, 3)
    assert found.shape == (1, 9, 2, 2, 3)
    assert found[0, 0, ..., 0].tolist() == [[0, 1], [7, 8]]
    assert found[0, 1, ..., 0].tolist() == [[2, 3], [9, 10]]
    assert found[0, 8, ..., 0].tolist() == [[32, 33], [39, 40]]


def test_views_are_the_clips(tmp_path: Path) -> None:
    tiny(tmp_path / "clip", layers=1)
    frozen = Frozen(str(tmp_path / "clip"))
    pictures = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    found = views(frozen, 2, pictures)
    assert found.shape == (3, 1 + 4, 12)
    with torch.no_grad():
        whole = frozen.images(normalise(pictures[1:2]))[0]
        corner = normalise(pictures[1:2, 16:, :16])
        large = interpolate(corner, (32, 32), mode="bicubic", align_corners=False)
        cell = frozen.images(large)[0]
    assert torch.allclose(found[1, 0], whole, atol=1e-5)
    assert torch.allclose(found[1, 3], cell, atol=1e-5)
    assert torch.equal(views(frozen, 1, pictures), found[:, :1])
