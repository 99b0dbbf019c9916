"""SigLIP against its pooling head with the attention fixed on one patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.siglip2 import SigLip, SigLipTower
from support.tiny_hub import NAMES, make_siglip, some_images


@pytest.fixture(scope="module", params=[False, True], ids=["fixed", "naflex"])
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SigLipTower:
    folder = make_siglip(tmp_path_factory.mktemp("siglip"), naflex=request.param)
    return SigLipTower(str(folder), "cpu")


def hidden(tower: SigLipTower, pixels: torch.Tensor) -> torch.Tensor:
    """Tokens (B, P, D) by transformers' own way in."""
    vision = tower.model.vision_model
    if tower.model.config.model_type == "siglip":
        return vision(pixels, interpolate_pos_encoding=True).last_hidden_state
    side, rows = pixels.shape[-1] // 8, []
    for image in pixels:
        for y in range(0, side * 8, 8):
            for x in range(0, side * 8, 8):
                rows.append(image[:, y : y + 8, x : x + 8].permute(1, 2, 0).flatten())
    rows = torch.stack(rows).view(len(pixels), side * side, -1)
    shapes = torch.tensor([[side, side]] * len(pixels))
    return vision(rows, torch.ones(rows.shape[:2]), shapes).last_hidden_state


@pytest.mark.parametrize("side", [None, 64])
def test_the_head_looks_at_one_patch_alone(tower: SigLipTower, side: int | None) -> None:
    pixels = tower.prepare(some_images()[:2], side)
    head = tower.model.vision_model.head
    with torch.no_grad():
        found = SigLip(tower).features(pixels)
        tokens = hidden(tower, pixels)
        # An image that has one patch only: the head's query can look nowhere else.
        alone = [[head(token[None, None])[0] for token in image] for image in tokens]
    expected = torch.stack([torch.stack(image) for image in alone])
    assert found.shape == (2, (pixels.shape[-1] // 8) ** 2, 32)
    assert torch.allclose(found, expected, atol=1e-5)


def test_naflex_patches_are_the_processor_s(tower: SigLipTower) -> None:
    if tower.model.config.model_type == "siglip":
        image = some_images()[0].resize((48, 48))
        own = tower.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        assert torch.allclose(tower.prepare([image]), own, atol=1e-5)
        return
    image = some_images()[0].resize((48, 48))
    rows = tower.processor.image_processor(image, return_tensors="pt")
    with torch.no_grad():
        expected = tower.model.vision_model(**rows).last_hidden_state
        found = tower.patches(tower.prepare([image]))
    assert torch.allclose(found, expected, atol=1e-5)


def test_texts_are_small_and_padded_to_the_end(tower: SigLipTower) -> None:
    ids = tower.processor.tokenizer(["a picture of a sky"])["input_ids"][0]
    row = torch.tensor([ids + [0] * (40 - len(ids))])
    with torch.no_grad():
        expected = normalize(tower.model.get_text_features(row).pooler_output, dim=-1)
    found = tower.texts(["SKY"], SigLip(tower).sentences())
    assert torch.allclose(found, expected, atol=1e-5)


def test_any_image_any_names(tower: SigLipTower) -> None:
    images = some_images()
    model = ovsslib.load("siglip2", vlm=tower)
    found = model.segment_batch(images, [NAMES, [], ["sky", "grass", "sea"]])
    assert [one.labels.shape for one in found] == [i.size[::-1] for i in images]
    assert (found[0].labels == found[0].planes.argmax(0)).all()
    assert (found[1].labels == -1).all()
    assert np.abs(found[0].planes).max() <= 1


def test_a_model_without_the_head(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="bare has no pooling head"):
        SigLipTower(str(make_siglip(tmp_path / "bare", head=False)), "cpu")
