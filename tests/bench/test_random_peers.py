"""Random models of published size: the sizes, the tokenizers, and that adapters can use them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from ovsslib.bench import peers, random_peers
from ovsslib.bench.random_peers import (
    HUB,
    METHODS,
    SIZES,
    bert_words,
    config_of,
    model_of,
    random_method,
    wordpiece,
)
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.methods import DEFAULTS
from ovsslib.peers.boxes import Boxes
from ovsslib.peers.hub_names import several
from ovsslib.vlm import load_vlm
from support.helpers import ovss

NAMES = ["sky", "traffic light", "house"]
PUBLISHED = {  # million parameters
    "tipsv2-b14": 86 + 110,  # its card
    "clipseg-rd64-refined": 575.1 * 2**20 / 4e6,  # its file of float32 has 575.1 MiB
    "sam3": 848,  # with the tracker of videos, which is not read
}
SHALLOW: dict[str, dict[str, Any]] = {  # as wide, but not as deep
    "groupvit-gcc-yfcc": {
        "text_config": {"num_hidden_layers": 1}, "vision_config": {"depths": [1, 1, 1]},
    },
    "tipsv2-b14": {
        "text_config": {"num_hidden_layers": 1}, "vision_config": {"num_hidden_layers": 1},
    },
    "siglip2-base-patch16-224": {
        "text_config": {"num_hidden_layers": 1}, "vision_config": {"num_hidden_layers": 1},
    },
    "clipseg-rd64-refined": {
        "text_config": {"num_hidden_layers": 1}, "vision_config": {"num_hidden_layers": 2},
        "extract_layers": [0, 1],
    },
    "owlv2-base-patch16-ensemble": {
        "text_config": {"num_hidden_layers": 1}, "vision_config": {"num_hidden_layers": 1},
    },
    "sam2.1-hiera-tiny": {
        "vision_config": {
            "backbone_config": {
                "blocks_per_stage": [1, 1, 2, 1], "global_attention_blocks": [3],
            },
        },
    },
}  # fmt: skip


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    def merged(ones: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
        both = dict(ones)
        for key, value in others.items():
            both[key] = merged(ones.get(key, {}), value) if isinstance(value, dict) else value
        return both

    for name, changes in SHALLOW.items():
        size = SIZES[name]
        monkeypatch.setitem(SIZES, name, replace(size, changes=merged(size.changes, changes)))


def test_checkpoints_are_those_of_the_methods() -> None:
    named = {method: several(DEFAULTS[method]) for method in HUB}
    for method, (_, name) in HUB.items():
        assert named[method][0].endswith(f"/{name}")
    every = {name.partition("/")[2] for names in named.values() for name in names}
    assert every == SIZES.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        model = model_of(SIZES[name])
    count = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert count == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("name", SIZES)
def test_images_and_patches_fit(name: str) -> None:
    """The side that images are brought to is the one that positions are for."""
    size = SIZES[name]
    config = config_of(size)
    processor = random_peers.processor_of(size).image_processor
    own = processor.size.get("height", processor.size.get("shortest_edge"))
    if name == "grounding-dino-tiny":
        assert (own, processor.size["longest_edge"]) == (800, 1333)
    elif name == "clipseg-rd64-refined":
        assert own == 352, "another side than that of its CLIP"
    else:
        vision = config.vision_config
        side = getattr(vision, "image_size", None) or vision.backbone_config.image_size
        assert own == (side[0] if isinstance(side, list | tuple) else side)


@pytest.mark.parametrize("method", ["groupvit", "tipsv2", "siglip2", "clipseg"])
def test_adapters_take_them(shallow: None, method: str) -> None:
    done: Any = ovss(
        *"bench peers --random --images 1 --repeat 1 --no-memory --device cpu --json".split(),
        "--methods", method,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    (row,) = record["rows"]
    assert row["vlm"] == f"{HUB[method][1]}-random"
    assert row["parameters"] > 3e7
    assert record["settings"]["random"] is True


def test_weights_are_always_the_same_and_names_differ(shallow: None) -> None:
    state = torch.random.get_rng_state()
    one, other = (random_method("clipseg", "cpu") for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = zip(one.matcher.model.parameters(), other.matcher.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    assert not any(weight.requires_grad for weight in one.matcher.model.parameters())
    first, second = one.matcher.encode(["sky", "traffic light"])
    assert not torch.allclose(first, second, atol=1e-3)


def test_a_detector_and_sam2(shallow: None) -> None:
    model = random_method("owlv2-sam2", "cpu")
    pair = model.matcher
    assert pair.name == "owlv2-base-patch16-ensemble-random+sam2.1-hiera-tiny-random"
    data = load_dataset("diorama", None, "val")
    image = data.image(data.ids[0])
    found = pair.detector.detect(image, NAMES, "")
    assert len(found.scores) == (960 // 16) ** 2
    assert isinstance(found.best(0.1, 100), Boxes)
    assert len(found.best(0.1, 100).scores) == 100, "random scores exceed the threshold"
    (mask,) = pair.sam.masks(image, found.best(0.1, 1).corners)
    assert mask.shape == (image.height, image.width)
    count = sum(
        weight.numel() for part in (pair.detector, pair.sam) for weight in part.model.parameters()
    )
    assert peers.parameters(model) == count


def test_words_stand_in_for_the_published_tokenizers() -> None:
    rows = wordpiece()(["sky", "traffic light"], padding=True)
    assert all(row[0] == 2 for row in rows["input_ids"])
    bert = bert_words()
    sentence = bert("sky. traffic light?")["input_ids"]
    assert (sentence[0], sentence[-1]) == (101, 102)
    assert 1012 in sentence
    assert 1029 in sentence
    assert bert.convert_ids_to_tokens(sentence)[1] == "sky"
    assert len(set(bert.get_vocab().values())) == len(bert.get_vocab()) == 1100


def test_pnp_ovss_has_blip_large(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def small(name: str, device: Any) -> Any:
        asked.append((name, device))
        return load_vlm("micro-blip", device)

    monkeypatch.setattr(random_peers, "open_model", small)
    assert random_method("pnp-ovss", "cpu").name == "pnp-ovss"
    assert asked == [("blip-large-random", "cpu")]
    assert METHODS[0] == "pnp-ovss"
    with pytest.raises(OvssError, match="unknown method with a random model 'reco'"):
        random_method("reco")
