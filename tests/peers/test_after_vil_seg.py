"""After ViL-Seg's read-out: clusters pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, interpolate, layer_norm, normalize

from ovsslib.peers.after_vil_seg import AfterVilSeg, AfterVilSegTower, ClusterHead, clusters
from ovsslib.peers.head import save_head
from support.tiny_clip import pattern, tiny


def make(folder: Path) -> AfterVilSegTower:
    clip = tiny(folder / "model" / "clip", layers=2)
    torch.manual_seed(1)
    head = ClusterHead(clip.model, clusters=4)
    with torch.no_grad():
        head.layers[3].weight.mul_(20)
    save_head(folder / "model", "after-vil-seg", ("clip", clip.model), head, clusters=4)
    return AfterVilSegTower(str(folder / "model"), "cpu")


def test_shares_of_a_patch(tmp_path: Path) -> None:
    head, patches = make(tmp_path).head, torch.randn(2, 5, 16)
    (norm, inner, _, outer), found = head.layers, head(patches)
    assert torch.allclose(found.sum(-1), torch.ones(2, 5), atol=1e-5)
    for b in range(2):
        for p in range(5):
            state = layer_norm(patches[b, p], (16,), norm.weight, norm.bias)
            logits = outer.weight @ gelu(inner.weight @ state + inner.bias) + outer.bias
            assert torch.allclose(found[b, p], logits.softmax(0), atol=1e-4)


@pytest.mark.parametrize("side", [32, 48])
def test_planes_by_loops(tmp_path: Path, side: int) -> None:
    tower, names = make(tmp_path), normalize(torch.randn(3, 12), dim=-1)
    pixels, grid, used = pattern(side=side), side // 8, set()
    with torch.no_grad():
        found = AfterVilSeg(tower).planes(pixels, [names, names])
        vision = tower.model.visual
        tokens = tower.embed(pixels)
        for layer in vision.transformer.resblocks:
            tokens = layer(tokens)
        shares = tower.head(tokens[:, 1:])
        for b in range(2):
            members: dict[int, list[torch.Tensor]] = {}
            for token, share in zip(tokens[b, 1:], shares[b], strict=True):
                feature = normalize(vision.ln_post(token) @ vision.proj, dim=0)
                members.setdefault(int(share.argmax()), []).append(feature)
            means = {c: torch.stack(rows).mean(0) for c, rows in members.items()}
            plane = shares[b].T.reshape(1, 4, grid, grid)
            large = interpolate(plane, (side, side), mode="bilinear")[0]
            assert found[b].shape == (3, side, side)
            for y in range(0, side, 3):
                for x in range(0, side, 3):
                    own = max(means, key=lambda c: float(large[c, y, x]))
                    used.add((b, own))
                    for k, name in enumerate(names):
                        cosine = torch.cosine_similarity(means[own], name, dim=0)
                        assert float(found[b][k, y, x]) == pytest.approx(float(cosine), abs=1e-4)
    assert len(used) > 2, "patches of an image belong to several clusters"


def test_a_cluster_without_patches_has_no_pixels() -> None:
    """Halfway between two patches a third cluster may have the most, but no features."""
    shares = torch.tensor([[0.6, 0.0, 0.4], [0.0, 0.6, 0.4]] * 2)
    units = torch.eye(2).repeat(2, 1)
    found = clusters(units, shares, torch.eye(2), 8)
    assert torch.isfinite(found).all()
    assert found.argmax(0)[0].tolist() == [0] * 4 + [1] * 4
    assert set(found.flatten().tolist()) == {0.0, 1.0}


def test_an_image_is_segmented(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    found = AfterVilSeg(make(tmp_path)).segment(picture, ["car", "grass"])
    assert found.planes.shape == (2, 40, 60)
    assert (found.labels == found.planes.argmax(0)).all()
