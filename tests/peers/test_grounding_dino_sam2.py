"""Grounding DINO: boxes, and scores of names, found by their tokens instead of their places."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.grounding_dino_sam2 import Grounding, GroundingPair, name_logits
from support.tiny_hub import NAMES, make_grounding_dino, make_sam2, some_images

MANY = [
    "light",
    "traffic light",
    "sky",
    "house",
    "car",
    "tree",
    "water",
    "road",
    "zebra",
    "bus",
    "bird",
    "hot air balloon",
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> GroundingPair:
    place = tmp_path_factory.mktemp("grounding")
    return GroundingPair(f"{make_grounding_dino(place / 'dino')}+{make_sam2(place / 'sam')}", "cpu")


def expected(detector: Grounding, image: Image.Image, names: list[str]) -> torch.Tensor:
    """Logits (N, K): each name's tokens are looked for in the sentence's, from left to right."""
    sentence = " ".join(f"{name}." for name in names)
    rows = detector.processor(images=image, text=sentence, return_tensors="pt")
    with torch.no_grad():
        out = detector.model(**rows)
    ids, start, logits = rows["input_ids"][0].tolist(), 1, []
    for name in names:
        own = detector.processor.tokenizer(name, add_special_tokens=False)["input_ids"]
        while ids[start : start + len(own)] != own:
            start += 1
        logits.append(out.logits[0, :, start : start + len(own)].max(1).values)
        start += len(own)
    return torch.stack(logits, dim=1)


def test_a_name_s_score_is_its_best_token_s(pair: GroundingPair) -> None:
    detector, image = pair.detector, some_images()[0]
    names = ["light", "traffic light", "sky", "zebra"]
    logits = expected(detector, image, names)
    with torch.no_grad():
        found = detector.detect(image, names, "")
    assert torch.allclose(found.scores, logits.max(1).values.sigmoid(), atol=1e-5)
    assert torch.equal(found.names, logits.argmax(1))
    assert len(set(found.names.tolist())) > 1


def test_boxes_are_transformers_own(pair: GroundingPair) -> None:
    detector, image = pair.detector, some_images()[0]
    rows = detector.processor(images=image, text="sky. grass.", return_tensors="pt")
    with torch.no_grad():
        found = detector.detect(image, ["sky", "grass"], "")
        out = detector.model(**rows)
    (own,) = detector.processor.post_process_grounded_object_detection(
        out, threshold=0.0, target_sizes=[(image.height, image.width)]
    )
    limits = torch.tensor([image.width, image.height] * 2)
    inside = own["boxes"].clamp(min=0).minimum(limits)
    assert torch.allclose(found.corners, inside, atol=1e-3)
    # Names hold every word of the sentence, so that its best token is one of theirs or a dot.
    assert (found.scores <= own["scores"] + 1e-6).all()


def test_sentences_are_as_long_as_the_model_allows(pair: GroundingPair) -> None:
    detector = pair.detector
    parts = detector.sentences(MANY)
    assert len(parts) > 1
    seen = []
    for first, sentence, spans in parts:
        assert len(detector.processor.tokenizer(sentence)["input_ids"]) <= 32
        assert sentence.endswith(".")
        seen += [(first + k, sentence[a:b]) for k, (a, b) in enumerate(spans)]
    assert seen == list(enumerate(MANY))
    with torch.no_grad():
        found = detector.detect(some_images()[0], MANY, "")
        apart = [
            detector.detect(some_images()[0], MANY[first : first + len(spans)], "")
            for first, _, spans in parts
        ]
    assert torch.allclose(found.scores, torch.cat([part.scores for part in apart]), atol=1e-5)
    names = torch.cat([p.names + f[0] for p, f in zip(apart, parts, strict=True)])
    assert torch.equal(found.names, names)


def test_stops_inside_names_end_no_phrase(pair: GroundingPair) -> None:
    ((_, sentence, spans),) = pair.detector.sentences(["St. Bernard", "What?", "."], "a")
    assert sentence == "a st bernard. a what. a."
    assert [sentence[a:b] for a, b in spans] == ["a st bernard", "a what", "a"]


def test_a_name_without_tokens_has_no_score() -> None:
    tokens = torch.tensor([[0.1, 0.7, 0.2]])
    places = [(0, 0), (0, 3), (3, 4)]
    assert name_logits(tokens, places, [(0, 3), (5, 9)]).sigmoid()[0, 1] == 0
    assert name_logits(tokens, places, [(0, 3), (5, 9)])[0, 0].item() == pytest.approx(0.7)


def test_any_image_any_names(pair: GroundingPair) -> None:
    images = [*some_images(), Image.new("RGB", (3, 2000))]
    model = ovsslib.load("grounding-dino-sam2", vlm=pair, most=4)
    found = model.segment_batch(images, [NAMES, [], ["sky", "grass", "sea"], ["?", "w" * 90]])
    assert [one.labels.shape for one in found] == [i.size[::-1] for i in images]
    assert (found[1].labels == -1).all()
    assert found[2].planes.shape[0] == len(found[2].classes)


def test_without_the_models() -> None:
    with pytest.raises(OvssError, match="'IDEA-Research/grounding-dino-tiny' is not on this"):
        ovsslib.load("grounding-dino-sam2")
