"""CLIPSeg against the outputs of transformers, name by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.clipseg import ClipSeg, ClipSegConfig, ClipSegModel
from ovsslib.pnp.resample import upsample
from support.tiny_hub import NAMES, make_clipseg, some_images


@pytest.fixture(scope="module")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> ClipSegModel:
    return ClipSegModel(str(make_clipseg(tmp_path_factory.mktemp("clipseg"))), "cpu")


def test_planes_are_each_name_s_probability(matcher: ClipSegModel) -> None:
    image = some_images()[0]
    pixels = matcher.prepare([image])
    assert pixels.shape == (1, 3, 64, 64)
    planes = []
    for name in NAMES:
        row = matcher.processor.tokenizer(name, return_tensors="pt")
        with torch.no_grad():
            out = matcher.model(
                pixel_values=pixels,
                input_ids=row["input_ids"],
                attention_mask=row["attention_mask"],
            )
        planes.append(1 / (1 + np.exp(-out.logits.view(64, 64).numpy())))
    for batch in (1, 3, 16):
        config = ClipSegConfig(batch=batch, threshold=0.0)
        found = ClipSeg(matcher, config).segment(image, NAMES)
        expected = upsample(np.array(planes), found.labels.shape)
        assert np.allclose(found.planes, expected, atol=1e-5)
        assert (found.labels == found.planes.argmax(0)).all()


def test_pixels_are_the_processor_s(matcher: ClipSegModel) -> None:
    square = some_images()[0].resize((64, 64))
    own = matcher.processor.image_processor(square, return_tensors="pt")["pixel_values"]
    assert torch.allclose(matcher.prepare([square]), own, atol=1e-5)


def test_what_no_name_reaches_is_background(matcher: ClipSegModel) -> None:
    image = some_images()[0]
    peak = ClipSeg(matcher).segment(image, NAMES).planes.max(0)
    middle = float(np.median(peak))
    model = ovsslib.load("clipseg", vlm=matcher, threshold=middle)
    found = model.segment(image, NAMES)
    assert ((found.labels == -1) == (peak < np.float32(middle))).all()
    assert 0.2 < (found.labels == -1).mean() < 0.8
    with pytest.raises(OvssError, match="threshold"):
        ClipSegConfig(threshold=1.5)


def test_any_image_any_names(matcher: ClipSegModel) -> None:
    images = some_images()
    model = ClipSeg(matcher, ClipSegConfig(threshold=0.0, prompt="a"))
    found = model.segment_batch(images, [NAMES, [], ["sky", "grass", "sea", "x" * 400]])
    assert [one.labels.shape for one in found] == [i.size[::-1] for i in images]
    assert (found[1].labels == -1).all()
    assert found[1].planes.shape == (0, *found[1].labels.shape)
    assert found[2].planes.shape[0] == len(found[2].classes)
    assert model.segment_batch([], []) == []
    assert len(found[2].scores) == 4
