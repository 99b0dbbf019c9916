"""The preset that a model gets when none is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.pnp.presets import PRESETS, default_config, default_preset, preset, trained_model
from ovsslib.vlm.blip.matcher import BlipMatcher, load_tokenizer
from ovsslib.vlm.blip.net import BlipNet
from ovsslib.vlm.sizes import BlipSizes, EncoderSizes
from support.helpers import tiny_blip  # noqa: F401 - a fixture


def make_matcher(
    folder: Path, name: str, *, layers: int = 12, heads: int = 12, side: int = 384
) -> BlipMatcher:
    """As many layers and heads as asked for, but narrow."""
    tokenizer = load_tokenizer(folder)
    shape = BlipSizes(
        image=EncoderSizes(4, 4, 1, 1, 1e-5),
        text=EncoderSizes(2 * heads, 4, layers, heads, 1e-12),
        image_size=side,
        patch=32,
        vocabulary=tokenizer.get_vocab_size(),
        positions=8,
        pad=0,
        shared=4,
    )
    with torch.device("meta"):  # its weights do not matter
        net = BlipNet(shape)
    return BlipMatcher(net, tokenizer, name=name)


@pytest.mark.parametrize(
    ("name", "layers", "heads", "expected"),
    [
        ("owner/blip-itm-large", 12, 12, "blip"),
        ("mine", 8, 10, "blip"),
        ("mine", 7, 12, "micro-blip"),
        ("mine", 12, 9, "micro-blip"),
        ("micro-blip", 12, 12, "micro-blip"),
        ("bridgetower", 12, 12, "bridgetower"),
        # Called like a preset whose layer it does not have.
        ("blip", 4, 4, "micro-blip"),
        ("micro-blip", 1, 1, "micro-blip"),
    ],
)
def test_by_name_and_size(
    tiny_blip: Path,  # noqa: F811
    name: str,
    layers: int,
    heads: int,
    expected: str,
) -> None:
    assert default_preset(make_matcher(tiny_blip, name, layers=layers, heads=heads)) == expected


def test_by_what_training_wrote(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    large = make_matcher(tiny_blip, "mine")
    card = tmp_path / "training.json"
    assert trained_model(tmp_path) is None
    assert default_preset(large, tmp_path) == "blip"
    card.write_text(json.dumps({"model": "micro-blip"}))
    assert trained_model(tmp_path) == "micro-blip"
    assert default_preset(large, tmp_path) == "micro-blip"
    # A name that is no preset, and files that are no records, decide nothing.
    for text in ('{"model": "micro-clip"}', '{"model": 3}', '{"model": []}', "{", "[]", "{}"):
        card.write_text(text)
        assert default_preset(large, tmp_path) == "blip"


def test_picture_size_of_the_published_models_only(tiny_blip: Path) -> None:  # noqa: F811
    published = make_matcher(tiny_blip, "owner/blip-itm-large")
    assert default_config(published) == PRESETS["blip"]
    assert PRESETS["blip"].image_size == 336
    other = make_matcher(tiny_blip, "mine", side=224)
    assert default_config(other) == PRESETS["blip"].replace(image_size=None)
    assert default_config(other, image_size=64).image_size == 64
    assert default_config(published, image_size=None).image_size is None
    # Named presets are left as they are.
    named = ovsslib.load("pnp-ovss", vlm=other, preset="blip", head=None)
    assert named.config == preset("blip", head=None)


def test_a_small_model_of_any_name_works(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    """A copy of a small checkpoint under another name: its own size, its preset, no 336 pixels."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny_blip, folder)
    model = ovsslib.load("pnp-ovss", vlm=folder, device="cpu", layer=2, rounds=1, crf=False)
    assert model.config == preset("micro-blip", layer=2, rounds=1, crf=False)
    assert model.config.image_size is None
    (found,) = model.maps([torch.zeros(40, 50, 3, dtype=torch.uint8).numpy()], [["cat"]])
    assert found.maps.shape == (1, 12, 12)
    loaded = ovsslib.load("pnp-ovss", vlm=model.matcher, layer=1)
    assert loaded.config == preset("micro-blip", layer=1)


def test_unknown_settings(tiny_blip: Path) -> None:  # noqa: F811
    with pytest.raises(OvssError, match="unknown setting 'treshold'"):
        default_config(make_matcher(tiny_blip, "mine"), treshold=0.1)


def test_a_preset_file_by_path_and_with_a_mark_at_its_start(tmp_path: Path) -> None:
    """Some editors begin UTF-8 with a mark."""
    text = json.dumps({"config": PRESETS["blip"].to_dict()})
    (tmp_path / "p.json").write_text(text, encoding="utf-8-sig")
    assert preset(tmp_path / "p.json") == preset(str(tmp_path / "p.json")) == PRESETS["blip"]
