"""CASS against the formulas, head by head, with whole matrices and their eigenvalues."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, normalize

from ovsslib.errors import OvssError
from ovsslib.peers.cass import Cass, CassConfig, groups, mixed, present_texts
from ovsslib.peers.dino import Dino
from support.tiny_dino import make_tiny_dino, naive_last_layer
from support.towers import micro, some_pixels, unit_features


def to_range(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    share = (values - values.min()) / (values.max() - values.min())
    return share * (others.max() - others.min()) + others.min()


def naive_graphs(keys: np.ndarray, others: np.ndarray, config: CassConfig) -> np.ndarray:
    heads, _, d = keys.shape
    others = to_range(others, keys)
    own = [k @ k.T / math.sqrt(d) for k in keys]
    theirs = [k @ k.T / math.sqrt(d) for k in others]

    def spectrum(graph: np.ndarray) -> np.ndarray:
        largest = np.sort(np.linalg.eigvalsh(graph))[::-1][: config.eigenvalues]
        return largest / largest.sum()

    distances = np.array([[np.abs(spectrum(a) - spectrum(b)).sum() for b in theirs] for a in own])
    best = max(
        itertools.permutations(range(heads)),
        key=lambda order: sum(distances[head, order[head]] for head in range(heads)),
    )
    found = []
    for head, partner in enumerate(best):
        values, vectors = np.linalg.eigh(theirs[partner])
        values, vectors = values[::-1], vectors[:, ::-1]
        count = 1
        while values[:count].sum() < config.energy * values.sum():
            count += 1
        kept = values[:count]
        if count > 1:
            share = (kept - kept.min()) / (kept.max() - kept.min())
            kept = share * (1.5 * kept.max() - 0.5 * kept.min()) + 0.5 * kept.min()
        graph = sum(value * np.outer(v, v) for value, v in zip(kept, vectors.T, strict=False))
        np.fill_diagonal(graph, 0)
        weight = config.weight * distances[head, partner]
        found.append((weight * to_range(graph, own[head]) + own[head]) / (weight + 1))
    return np.stack(found)


@pytest.mark.parametrize("energy", [0.2, 0.95, 0.999])
def test_graphs_are_matched_and_mixed(energy: float) -> None:
    rng = np.random.default_rng(9)  # one way to match heads is the best
    keys, others = rng.normal(size=(4, 9, 6)), rng.normal(size=(4, 9, 5)) ** 3
    config = CassConfig(energy=energy, eigenvalues=4)
    found = mixed(torch.tensor(keys), torch.tensor(others), config).numpy()
    expected = naive_graphs(keys, others, config)
    assert np.allclose(found, expected, atol=1e-9)
    plain = np.stack([k @ k.T / math.sqrt(6) for k in keys])
    assert not np.allclose(found, plain, atol=0.1)
    none = mixed(torch.tensor(keys), torch.tensor(others), CassConfig(weight=0.0)).numpy()
    assert np.allclose(none, plain)


def test_rounding_does_not_choose_among_equal_matchings() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        keys, others = rng.normal(size=(4, 9, 6)), rng.normal(size=(4, 9, 5)) ** 3
        config = CassConfig(eigenvalues=4)
        graphs = [
            mixed(torch.tensor(keys * factor), torch.tensor(others), config)
            for factor in (1, 1 + 1e-9, 1 - 1e-9, 1 + 3e-10)
        ]
        for other in graphs[1:]:
            assert torch.allclose(graphs[0], other, atol=1e-6), seed


@pytest.mark.parametrize("patch", [8, 16])
def test_features_of_an_image(tmp_path: Path, patch: int) -> None:
    tower, dino = micro(), Dino(str(make_tiny_dino(tmp_path / "dino", patch)), "cpu")
    config = CassConfig(sigma=1.0)
    method, pixels = Cass(tower, config, dino), some_pixels(tower, 2, 32)
    found = unit_features(method, pixels)
    visual = tower.model.visual
    last = visual.transformer.resblocks[-1]
    for index, image in enumerate(pixels):
        with torch.no_grad():
            inner = last.ln_1(tower.enter(image[None]))[0, 1:]
            packed = inner @ last.attn.in_proj_weight.T + last.attn.in_proj_bias
            _, keys, values = packed.unflatten(1, (3, 4, 32)).permute(1, 2, 0, 3)
            theirs = naive_last_layer(dino.model, method.matcher.colours(image))[1][1]
            rows = theirs.mT.unflatten(2, (32 // patch,) * 2)
            theirs = interpolate(rows, (4, 4), mode="bilinear").flatten(2).mT
            # Not the naive ones: here more than one way to match heads is the best.
            graphs = mixed(keys.double(), theirs.double(), config).numpy()
            for p, q in itertools.product(range(16), repeat=2):
                square = (p // 4 - q // 4) ** 2 + (p % 4 - q % 4) ** 2
                graphs[:, p, q] += math.exp(-square / 2)
            attention = torch.tensor(graphs).softmax(-1).float()
            read = torch.cat([attention[head] @ values[head] for head in range(4)], dim=1)
            expected = normalize(visual.ln_post(last.attn.out_proj(read)) @ visual.proj, dim=-1)
        assert torch.allclose(found[index], expected, atol=1e-5)


def test_scores_are_mixed_with_those_of_the_class_token(tmp_path: Path) -> None:
    tower, dino = micro(), Dino(str(make_tiny_dino(tmp_path / "dino")), "cpu")
    config = CassConfig(presence=0.3, shift=0.4, cut=1.2)
    method, pixels = Cass(tower, config, dino), some_pixels(tower, 2, 32)
    texts = [normalize(torch.randn(k, 128), dim=1) for k in (1, 5)]
    with torch.no_grad():
        found = method.planes(pixels, texts)
        own = unit_features(method, pixels)
        whole = normalize(
            tower.parts.project(tower.parts.blocks[-1].whole(tower.enter(pixels))), dim=-1
        )
    for index, named in enumerate(texts):
        present = named @ whole[index, 0]
        moved = present_texts(named, present, own[index], config)
        for k, p in itertools.product(range(len(named)), range(16)):
            score = 0.7 * moved[k] @ own[index, p] + 0.3 * present[k]
            assert float(found[index][k, p // 4, p % 4]) == pytest.approx(float(score), abs=1e-5)


def test_only_the_best_name_of_a_group_moves() -> None:
    axes = torch.eye(4)
    near = normalize(axes[0] + 0.1 * axes[1], dim=0)
    texts = torch.stack([axes[0], near, axes[2]])
    patches = normalize(torch.rand(6, 4), dim=1)
    present = torch.tensor([0.1, 0.5, 0.2])
    moved = present_texts(texts, present, patches, CassConfig(cut=0.1, shift=0.25))
    assert torch.equal(moved[0], texts[0])
    for name in (1, 2):
        cosines = [float(patch @ texts[name]) for patch in patches]
        first, second = sorted(range(6), key=lambda p: -cosines[p])[:2]
        mean = normalize((patches[first] + patches[second]) / 2, dim=0)
        assert torch.allclose(moved[name], normalize(0.75 * texts[name] + 0.25 * mean, dim=0))


def test_groups_of_names() -> None:
    axes = np.eye(3)
    near = axes[0] + 0.01 * axes[1]
    texts = np.stack([axes[0], axes[1], near / np.linalg.norm(near)])
    found = {tuple(group) for group in groups(texts, 0.1)}
    assert found == {(0, 2), (1,)}
    assert [len(group) for group in groups(texts, 9.0)] == [3]
    assert [list(group) for group in groups(texts[:1], 0.1)] == [[0]]


def test_heads_must_have_partners(tmp_path: Path) -> None:
    import timm
    from timm.models import save_for_hf

    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2,
             "num_classes": 0}  # fmt: skip
    save_for_hf(
        timm.create_model("vit_tiny_patch16_224", **shape), str(tmp_path / "two"),
        model_args=shape, safe_serialization=True,
    )  # fmt: skip
    tower = micro()
    method = Cass(tower, None, Dino(str(tmp_path / "two"), "cpu"))
    with pytest.raises(OvssError, match="micro-clip has 4 and two 2; give a DINO of CLIP's size"):
        unit_features(method, some_pixels(tower, 1, 32))
