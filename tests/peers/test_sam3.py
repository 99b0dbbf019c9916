"""SAM 3's two rules against its raw outputs, pixel by pixel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.sam3 import Sam3, Sam3Config, Sam3Segmenter
from support.tiny_hub import NAMES, make_sam3, some_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def matcher(folder: Path) -> Sam3:
    return Sam3(str(folder), "cpu")


def expected(matcher: Sam3, name: str, rule: str, threshold: float) -> tuple[np.ndarray, int]:
    """A name's plane of the first image, asked by itself; and how many instances took part."""
    image = some_images()[0]
    rows = matcher.processor(images=image, text=name, return_tensors="pt")
    with torch.no_grad():
        out = matcher.model(
            pixel_values=rows["pixel_values"],
            input_ids=rows["input_ids"],
            attention_mask=rows["attention_mask"],
        )
    size = (image.height, image.width)
    presence = torch.sigmoid(out.presence_logits).item()
    plane = interpolate(torch.sigmoid(out.semantic_seg), size, mode="bilinear")[0, 0].numpy()
    taken = 0
    for logit, mask in zip(out.pred_logits[0], out.pred_masks[0], strict=True):
        score = torch.sigmoid(logit).item() * presence
        if rule == "fused" and score > threshold:
            taken += 1
            large = interpolate(torch.sigmoid(mask)[None, None], size, mode="bilinear")[0, 0]
            plane = np.maximum(plane, score * large.numpy())
    return plane * presence, taken


@pytest.mark.parametrize("rule", ["semantic", "fused"])
def test_planes_follow_the_rule(matcher: Sam3, rule: str) -> None:
    parts = [expected(matcher, name, rule, 0.23) for name in NAMES]
    config = Sam3Config(rule=rule, instance_threshold=0.23, threshold=0.0)
    found = Sam3Segmenter(matcher, config).segment(some_images()[0], NAMES)
    assert np.allclose(found.planes, np.array([plane for plane, _ in parts]), atol=1e-5)
    assert (found.labels == found.planes.argmax(0)).all()
    if rule == "fused":
        assert 0 < sum(taken for _, taken in parts) < 8 * len(NAMES)


def test_rules_differ(matcher: Sam3) -> None:
    image = some_images()[0]
    planes = [
        Sam3Segmenter(matcher, Sam3Config(rule=rule, instance_threshold=0.1)).segment(image, NAMES)
        for rule in ("semantic", "fused")
    ]
    assert (planes[1].planes >= planes[0].planes - 1e-6).all()
    assert (planes[1].planes > planes[0].planes + 1e-3).any()
    none = Sam3Segmenter(matcher, Sam3Config(rule="fused")).segment(image, NAMES)
    assert np.allclose(none.planes, planes[0].planes, atol=1e-6)


def test_below_the_threshold_there_is_background(matcher: Sam3) -> None:
    image = some_images()[0]
    peak = Sam3Segmenter(matcher).segment(image, NAMES).planes.max(0)
    middle = float(np.median(peak))
    found = ovsslib.load("sam3", vlm=matcher, threshold=middle).segment(image, NAMES)
    assert ((found.labels == -1) == (peak < np.float32(middle))).all()
    with pytest.raises(OvssError, match="did you mean 'fused'"):
        Sam3Config(rule="fuse")


def test_a_checkpoint_for_videos_holds_the_same(folder: Path, tmp_path: Path) -> None:
    video = shutil.copytree(folder, tmp_path / "video")
    config = json.loads((video / "config.json").read_text())
    outer = {"model_type": "sam3_video", "detector_config": config}
    (video / "config.json").write_text(json.dumps(outer))
    weights = load_file(video / "model.safetensors")
    inner = {f"detector_model.{key}": value for key, value in weights.items()}
    inner["tracker_model.something"] = torch.zeros(2)
    save_file(inner, video / "model.safetensors", metadata={"format": "pt"})
    one, other = Sam3(str(folder), "cpu"), Sam3(str(video), "cpu")
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, other.model.state_dict()[name])


def test_any_image_any_names(matcher: Sam3) -> None:
    images = some_images()
    model = Sam3Segmenter(matcher, Sam3Config(threshold=0.0))
    found = model.segment_batch(images, [NAMES, [], ["sky", "grass", "sea", "w" * 90]])
    assert [one.labels.shape for one in found] == [i.size[::-1] for i in images]
    assert (found[1].labels == -1).all()
    assert found[2].planes.shape[0] == len(found[2].classes)
    assert model.planes_are == "probability"


def test_the_model_is_gated() -> None:
    with pytest.raises(OvssError, match=r"gated \(SAM License\).*hf auth login.*hf download face"):
        ovsslib.load("sam3")
