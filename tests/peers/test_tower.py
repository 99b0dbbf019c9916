"""CLIPs in parts: put together again they are the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.peers.parts import open_clip_parts
from ovsslib.peers.tower import Tower, _resized, alike
from ovsslib.protocols.templates import templates
from support.towers import make_hub_clip, micro, some_pixels


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hub_clip(tmp_path_factory.mktemp("models") / "hub-clip")


@pytest.fixture(params=["micro-clip", "hub"])
def tower(request: pytest.FixtureRequest, hub: Path) -> Tower:
    return Tower("micro-clip" if request.param == "micro-clip" else str(hub), "cpu")


def whole(tower: Tower, pixels: torch.Tensor) -> torch.Tensor:
    """What the library itself makes of images."""
    if hasattr(tower.model, "visual"):
        return tower.model.encode_image(pixels)
    return tower.model.get_image_features(pixels).pooler_output


def test_the_parts_make_the_whole(tower: Tower) -> None:
    pixels = some_pixels(tower)
    with torch.no_grad():
        expected = whole(tower, pixels)
        last, tokens = tower.parts.blocks[-1], tower.enter(pixels)
        q, k, v = last.qkv(last.norm(tokens))
        read = tokens + last.out(alike(q, k) @ v)
        found = tower.parts.project(read + last.feed(read))
        quick = tower.parts.project(last.whole(tokens))
    assert torch.allclose(found[:, 0], expected, atol=1e-5)
    assert torch.allclose(quick, found, atol=1e-5)
    assert len(tower.parts.blocks) == tower.layers
    assert tower.scale > 1


def test_images_are_prepared_as_the_library_does(tower: Tower) -> None:
    squash = open_clip.image_transform(
        tower.parts.side, is_train=False, mean=tower.parts.mean, std=tower.parts.std,
        resize_mode="squash", interpolation="bicubic",
    )  # fmt: skip
    data = load_dataset("diorama", None, "tune")
    expected = torch.stack([squash(data.image(name)) for name in data.ids[:2]])
    assert torch.allclose(some_pixels(tower), expected, atol=1e-5)


def test_other_sides_have_interpolated_positions(tower: Tower) -> None:
    own, patch = tower.parts.side, tower.parts.patch
    assert some_pixels(tower).shape[-1] == own == tower.own_side
    assert some_pixels(tower, side=own + patch + 1).shape[-1] == own + patch
    assert some_pixels(tower, side=1).shape[-1] == patch
    with torch.no_grad():
        found = tower.enter(some_pixels(tower, side=2 * own))
    assert found.shape[1] == 1 + (2 * own // patch) ** 2
    assert found.isfinite().all()


def test_positions_keep_what_is_even() -> None:
    tower = micro()
    row = torch.arange(tower.parts.positions.shape[1], dtype=torch.float32)
    even = row.expand_as(tower.parts.positions).clone()
    assert torch.allclose(_resized(even, 31), row.expand(1 + 31 * 31, -1), atol=1e-3)
    assert torch.equal(_resized(even, 14), even)


def test_a_name_is_the_mean_of_its_sentences(tower: Tower) -> None:
    sentences = templates("tcl")
    features = tower.texts(["bus", "sky", "bus"], sentences)
    assert torch.equal(features[0], features[2])
    each = torch.cat([tower.texts(["bus"], [one]) for one in sentences])
    assert torch.allclose(features[0], normalize(each.mean(0), dim=-1), atol=1e-5)
    assert torch.allclose(features.norm(dim=-1), torch.ones(3))


def test_texts_of_transformers_are_those_of_the_library(hub: Path) -> None:
    from transformers import AutoTokenizer

    tower = Tower(str(hub), "cpu")
    rows = AutoTokenizer.from_pretrained(hub)(["a bus", "a car on the road"], padding=True,
                                              return_tensors="pt")  # fmt: skip
    with torch.no_grad():
        expected = normalize(tower.model.get_text_features(**rows).pooler_output, dim=-1)
    found = tower.texts(["a bus", "a car on the road"], [str])
    assert torch.allclose(found, expected, atol=1e-5)


def test_colours_are_the_processor_s(hub: Path) -> None:
    assert Tower(str(hub), "cpu").parts.mean == (0.5, 0.4, 0.3)


def test_half_precision(tower: Tower, hub: Path) -> None:
    name = "micro-clip" if hasattr(tower.model, "visual") else str(hub)
    half = Tower(name, "cpu", "bfloat16")
    with torch.no_grad():
        pixels = some_pixels(tower)
        exact, rough = (normalize(one.enter(pixels).float(), dim=-1) for one in (tower, half))
    assert (exact * rough).sum(-1).mean() > 0.99
    assert half.texts(["bus"], [str]).dtype == torch.float32


def test_what_it_refuses(tmp_path: Path, hub: Path) -> None:
    with pytest.raises(OvssError, match="CLIP model 'micro-blip' is not on this machine"):
        Tower("micro-blip")
    with pytest.raises(OvssError, match="dtype 'float8'"):
        Tower("micro-clip", dtype="float8")
    other = tmp_path / "other"
    shutil.copytree(hub, other)
    config = (hub / "config.json").read_text()
    (other / "config.json").write_text('{"model_type": "blip"}')
    with pytest.raises(OvssError, match="a model of type 'blip', not a CLIP"):
        Tower(str(other))
    (other / "config.json").write_text("junk")
    with pytest.raises(OvssError, match="cannot be read"):
        Tower(str(other))
    (other / "config.json").write_text(config)
    weights = load_file(hub / "model.safetensors")
    del weights["vision_model.pre_layrnorm.weight"]
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(OvssError, match=r"1 parts are missing, such as vision_model\.pre_layr"):
        Tower(str(other))
    (other / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(OvssError, match="CLIP cannot be loaded from it"):
        Tower(str(other))
    resnet = open_clip.create_model("RN50")
    with pytest.raises(OvssError, match="no plain vision transformer"):
        open_clip_parts(resnet, "RN50")
