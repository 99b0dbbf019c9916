"""DINO in parts, against timm and against a last layer that is written anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from ovsslib.errors import OvssError
from ovsslib.peers.dino import Dino, locate, on_grid
from support.tiny_dino import MEAN, STD, make_tiny_dino, naive_last_layer


@pytest.fixture(scope="module", params=[0, 1, 4], ids=["plain", "1 register", "4 registers"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_dino(tmp_path_factory.mktemp("models") / "dino", registers=request.param)


def test_features_are_those_of_the_last_layer(folder: Path) -> None:
    dino, colours = Dino(str(folder), "cpu"), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = dino.features(colours)
        for index, image in enumerate(colours):
            tokens, (queries, keys, values) = naive_last_layer(dino.model, image)
            assert torch.allclose(found.tokens[index], tokens, atol=1e-5)
            assert torch.allclose(found.queries[index], queries, atol=1e-5)
            assert torch.allclose(found.keys[index], keys, atol=1e-5)
            assert torch.allclose(found.values[index], values, atol=1e-5)
    assert found.tokens.shape == (2, 16, 32)
    assert found.values.shape == (2, 4, 16, 8)


def test_prefix_tokens_and_colours_are_timm_s(folder: Path) -> None:
    whole = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    colours = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    with torch.no_grad():
        expected = whole.forward_features((colours - mean) / std)[:, whole.num_prefix_tokens :]
        found = Dino(str(folder), "cpu").features(colours).tokens
    assert torch.allclose(found, expected, atol=1e-5)


def test_other_sides_have_interpolated_positions(folder: Path) -> None:
    dino = Dino(str(folder), "cpu")
    larger = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=48).eval()
    colours = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        tokens, _ = naive_last_layer(larger, colours[0])
        assert torch.allclose(dino.features(colours).tokens[0], tokens, atol=1e-4)
        resized = torch.nn.functional.interpolate(colours, (40, 40), mode="bilinear")
        near = torch.nn.functional.interpolate(colours, (42, 42), mode="bilinear")
        assert dino.features(near).tokens.shape[1] == dino.grid(42) ** 2 == 25
        assert torch.allclose(
            dino.features(near).tokens,
            dino.features(torch.nn.functional.interpolate(near, (40, 40), mode="bilinear")).tokens,
        )
        assert dino.features(resized).tokens.shape[1] == 25
    assert dino.grid(1) == 1


def test_grids_are_resized_feature_by_feature() -> None:
    features = torch.rand(2, 3, 9, 5)
    found = on_grid(features, 4)
    assert found.shape == (2, 3, 16, 5)
    plane = features[1, 2, :, 4].view(1, 1, 3, 3)
    expected = torch.nn.functional.interpolate(plane, (4, 4), mode="bilinear").view(16)
    assert torch.allclose(found[1, 2, :, 4], expected)
    assert on_grid(features, 3) is features


def test_names(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "micro-dino")
    monkeypatch.setenv("OVSS_CHECKPOINTS", str(tmp_path))
    assert locate("micro-dino") == tmp_path / "micro-dino"
    assert Dino("micro-dino", "cpu").name == "micro-dino"
    assert locate(str(folder)) == folder
    for name in (
        "vit_base_patch8_224.dino",
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "vit_base_patch8_224.nonsense",
        "micro-dinosaur",
        "nobody/nothing",
        "./nowhere",
    ):
        with pytest.raises(OvssError, match=r"DINO model .* is not on this machine.*download=True"):
            locate(name)
    with pytest.raises(OvssError, match=r"timm/vit_base_patch8_224\.dino"):
        locate("vit_base_patch8_224.dino")


def changed(config: dict[str, Any], part: str, **fields: object) -> dict[str, Any]:
    return {**config, part: {**config[part], **fields}}


def test_damaged_files(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    lacking = {name: value for name, value in weights.items() if name != "norm.weight"}
    spoilt = weights["blocks.0.attn.qkv.weight"].clone()
    spoilt[3, 4] = torch.nan
    faults = {
        "NaN": (config, {**weights, "blocks.0.attn.qkv.weight": spoilt}),
        "Missing key.*norm.weight": (config, lacking),
        "asks for": (changed(config, "model_args", depth=10**9), weights),
        "depth and embed_dim must be": (changed(config, "model_args", depth="2"), weights),
        "but None": ({"model_type": "blip"}, weights),
        "but 'resnet10t'": ({**config, "architecture": "resnet10t"}, weights),
        "no std 0": (changed(config, "pretrained_cfg", std=[0, 1, 1]), weights),
    }  # fmt: skip
    for number, (reason, (fields, tensors)) in enumerate(faults.items()):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "config.json").write_text(json.dumps(fields))
        save_file(tensors, place / "model.safetensors")
        with pytest.raises(OvssError, match=f"DINO model .*{number}.* cannot be loaded.*{reason}"):
            Dino(str(place), "cpu")
    (tmp_path / "0" / "model.safetensors").write_bytes(b"{")
    with pytest.raises(OvssError, match="cannot be loaded"):
        Dino(str(tmp_path / "0"), "cpu")
    (tmp_path / "0" / "config.json").write_text("[")
    with pytest.raises(OvssError, match="not a model's configuration"):
        Dino(str(tmp_path / "0"), "cpu")


def test_layers_of_another_kind_are_refused(tmp_path: Path) -> None:
    from timm.models import save_for_hf

    shape = {"img_size": 32, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 0}
    model = timm.create_model("vit_small_patch16_18x2_224", **shape)
    save_for_hf(model, str(tmp_path / "net"), model_args=shape, safe_serialization=True)
    with pytest.raises(OvssError, match="its layers are not those of timm's plain"):
        Dino(str(tmp_path / "net"), "cpu")
