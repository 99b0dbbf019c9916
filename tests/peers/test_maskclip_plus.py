"""MaskCLIP+: how far its network sees, and its scores."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.functional import normalize

from ovsslib.peers.head import save_head
from ovsslib.peers.maskclip_plus import MaskClipPlus, MaskClipPlusHead, MaskClipPlusTower
from support.tiny_clip import pattern, tiny


def test_scores_are_products_at_a_quarter_of_the_side(tmp_path: Path) -> None:
    clip = tiny(tmp_path / "clip", layers=1)
    head = MaskClipPlusHead(clip.model, width=8).eval()
    save_head(
        tmp_path / "plus", "maskclip-plus", (str(tmp_path / "clip"), clip.model), head, width=8
    )
    tower = MaskClipPlusTower(str(tmp_path / "plus"), "cpu")
    texts = [normalize(torch.randn(count, 12), dim=-1) for count in (2, 3)]
    pixels = pattern()
    with torch.no_grad():
        found = MaskClipPlus(tower).planes(pixels, texts)
        dense = tower.head(pixels)
    assert [tuple(planes.shape) for planes in found] == [(2, 8, 8), (3, 8, 8)]
    for b in range(2):
        for k in range(len(texts[b])):
            for y in range(8):
                for x in range(8):
                    expected = float(texts[b][k] @ dense[b, :, y, x]) / tower.scale
                    assert abs(float(found[b][k, y, x]) - expected) < 1e-5


def test_a_pixel_is_seen_through_all_dilations() -> None:
    class Clip:
        """As much of a CLIP as the head asks for."""

        class visual:
            proj = torch.zeros(4, 4)

    head = MaskClipPlusHead(Clip, width=8).eval()  # type: ignore[arg-type]
    pixels = torch.randn(1, 3, 128, 128, requires_grad=True)
    head(pixels)[0, 0, 16, 16].backward()
    seen = pixels.grad.abs().sum((0, 1)) > 0
    rows = seen.any(1).nonzero().flatten()
    # A kernel of 3 adds twice its dilation, in pixels of the image: 2, then 4, then 8 * dilation.
    assert int(rows[-1] - rows[0]) + 1 == 1 + 2 + 4 + 8 * (2 + 4 + 8)
