"""OWLv2 against what transformers makes of its outputs."""

from __future__ import annotations

import pytest
import torch

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.owlv2_sam2 import OwlPair
from support.tiny_hub import NAMES, make_owlv2, make_sam2, some_images


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> OwlPair:
    place = tmp_path_factory.mktemp("owl")
    return OwlPair(f"{make_owlv2(place / 'owl')}+{make_sam2(place / 'sam')}", "cpu")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_boxes_are_transformers_own(pair: OwlPair, number: int) -> None:
    image = some_images()[number]
    texts = [[f"a photo of a {name}" for name in NAMES]]
    detector = pair.detector
    rows = detector.processor(text=texts, images=image, return_tensors="pt", max_length=16)
    with torch.no_grad():
        found = detector.detect(image, NAMES, "a photo of a")
        out = detector.model(**rows)
    size = (image.height, image.width)
    (expected,) = detector.processor.post_process_grounded_object_detection(
        out, threshold=0.0, target_sizes=[size]
    )
    assert torch.allclose(found.scores, expected["scores"], atol=1e-5)
    assert torch.equal(found.names, expected["labels"])
    for box, other in zip(found.corners.tolist(), expected["boxes"].tolist(), strict=True):
        inside = [min(max(v, 0), size[1 - k % 2]) for k, v in enumerate(other)]
        assert box == pytest.approx(inside, abs=1e-3)


def test_any_image_any_names(pair: OwlPair) -> None:
    images = some_images()
    model = ovsslib.load("owlv2-sam2", vlm=pair, most=5)
    names = ["sky", "grass", "sea", "a name that is much longer than sixteen tokens can be " * 3]
    found = model.segment_batch(images, [NAMES, [], names])
    assert [one.labels.shape for one in found] == [i.size[::-1] for i in images]
    assert (found[1].labels == -1).all()
    assert found[2].planes.shape[0] == len(found[2].classes)
    assert found[0].planes.max() <= 1


def test_without_the_models() -> None:
    with pytest.raises(OvssError, match="'google/owlv2-base-patch16-ensemble' is not on this"):
        ovsslib.load("owlv2-sam2")
