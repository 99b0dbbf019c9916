"""Boxes, SAM 2's masks of them, and planes, against loops over boxes and pixels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from ovsslib.peers.boxes import Boxes, BoxSegmenter, Sam2, corners_of
from ovsslib.peers.owlv2_sam2 import OwlConfig, OwlPair, OwlSam
from support.tiny_hub import NAMES, make_owlv2, make_sam2, some_images


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("boxes")
    return make_owlv2(place / "owl"), make_sam2(place / "sam")


@pytest.fixture(scope="module")
def sam(folders: tuple[Path, Path]) -> Sam2:
    return Sam2(str(folders[1]), "cpu")


def test_corners_are_pixels_inside_the_image() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.9, 0.1, 0.4, 0.4], [0.2, 0.9, 0.1, 0.6]])
    found = corners_of(boxes, (50, 80), (100.0, 60.0))
    for (x, y, w, h), corner in zip(boxes.tolist(), found.tolist(), strict=True):
        expected = [
            min(max((x - w / 2) * 100, 0), 80),
            min(max((y - h / 2) * 60, 0), 50),
            min(max((x + w / 2) * 100, 0), 80),
            min(max((y + h / 2) * 60, 0), 50),
        ]
        assert corner == pytest.approx(expected, abs=1e-4)


def test_the_best_boxes() -> None:
    boxes = Boxes(
        torch.arange(20.0).view(5, 4), torch.tensor([0.2, 0.9, 0.3, 0.9, 0.1]), torch.arange(5)
    )
    found = boxes.best(0.2, 3)
    assert found.names.tolist() == [1, 3, 2]
    assert found.corners[2].tolist() == [8.0, 9.0, 10.0, 11.0]
    assert boxes.best(0.2, 100).names.tolist() == [1, 3, 2, 0]
    assert boxes.best(0.95, 3).names.tolist() == []


def alone(sam: Sam2, image, box: list[float]) -> np.ndarray:
    """The mask of one box, asked for by itself: where the enlarged logits are above 0."""
    rows = sam.processor(images=image, input_boxes=[[box]], return_tensors="pt")
    with torch.no_grad():
        out = sam.model(
            pixel_values=rows["pixel_values"],
            input_boxes=rows["input_boxes"],
            multimask_output=False,
        )
    size = (image.height, image.width)
    return (interpolate(out.pred_masks[0], size, mode="bilinear")[0, 0] > 0).numpy()


def test_masks_are_those_of_each_box_alone(sam: Sam2) -> None:
    boxes = [[3.0, 5.0, 60.0, 100.0], [100.0, 20.0, 140.0, 60.0], [0.0, 0.0, 144.0, 144.0]]
    for image in some_images()[:2]:
        expected = [alone(sam, image, box) for box in boxes]
        assert any(mask.any() and not mask.all() for mask in expected)
        for batch in (1, 2, 32):
            with torch.no_grad():
                found = list(sam.masks(image, torch.tensor(boxes), batch))
            for mask, other in zip(found, expected, strict=True):
                assert (mask == other).mean() > 0.999


def test_a_checkpoint_for_videos_holds_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    video = shutil.copytree(folders[1], tmp_path / "video")
    config = json.loads((video / "config.json").read_text())
    (video / "config.json").write_text(json.dumps({**config, "model_type": "sam2_video"}))
    one, other = Sam2(str(folders[1]), "cpu"), Sam2(str(video), "cpu")
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, other.model.state_dict()[name])


def test_planes_hold_the_best_score_of_the_masks(folders: tuple[Path, Path]) -> None:
    pair = OwlPair("+".join(map(str, folders)), "cpu")
    assert pair.name == "owl+sam"
    image = some_images()[0]
    model = OwlSam(pair, OwlConfig(threshold=0.3, most=12))
    assert isinstance(model, BoxSegmenter)
    found = model.segment(image, NAMES)
    with torch.no_grad():
        boxes = pair.detector.detect(image, NAMES, "a photo of a")
    order = sorted(range(len(boxes.scores)), key=lambda n: -boxes.scores[n].item())
    order = [n for n in order if boxes.scores[n] >= 0.3][:12]
    assert len({boxes.names[n].item() for n in order}) > 1
    expected = np.zeros_like(found.planes)
    for n in order:
        mask = alone(pair.sam, image, boxes.corners[n].tolist())
        plane = expected[boxes.names[n]]
        plane[mask] = np.maximum(plane[mask], boxes.scores[n].item())
    assert (np.abs(found.planes - expected) < 1e-5).mean() > 0.999
    peak = found.planes.max(0)
    assert (found.labels == np.where(peak < 0.3, -1, found.planes.argmax(0))).all()


def test_where_there_is_no_box_there_is_background(folders: tuple[Path, Path]) -> None:
    pair = OwlPair("+".join(map(str, folders)), "cpu")
    none = OwlSam(pair, OwlConfig(threshold=1.0)).segment(some_images()[0], NAMES)
    assert (none.labels == -1).all()
    assert not none.planes.any()
    free = OwlSam(pair, OwlConfig(threshold=0.0, most=1)).segment(some_images()[0], NAMES)
    assert ((free.labels == -1) == (free.planes.max(0) == 0)).all()
