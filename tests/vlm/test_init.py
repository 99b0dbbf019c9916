"""Finding and loading models by name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovsslib.errors import OvssError
from ovsslib.vlm import find_checkpoint, load_vlm, open_device
from support.helpers import tiny_blip  # noqa: F401 - a fixture
from support.tiny_blip2 import tiny_blip2  # noqa: F401 - a fixture
from support.tiny_bridgetower import tiny_bridgetower  # noqa: F401 - a fixture


def test_folder(tiny_blip: Path) -> None:  # noqa: F811
    matcher = load_vlm(tiny_blip, "cpu")
    assert matcher.name == tiny_blip.name
    assert (matcher.layers, matcher.heads, matcher.image_size, matcher.patch_size) == (2, 4, 96, 8)
    assert matcher.max_tokens == 64


def test_micro_model_from_the_environment(
    tiny_blip: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "micro-blip").symlink_to(tiny_blip)
    monkeypatch.setenv("OVSS_CHECKPOINTS", str(tmp_path))
    assert find_checkpoint("micro-blip") == tmp_path / "micro-blip"
    assert load_vlm("micro-blip", "cpu", "bfloat16").dtype == torch.bfloat16  # type: ignore[attr-defined]
    assert load_vlm("micro-blip", "cpu").name == "micro-blip"


def test_missing_micro_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovsslib.vlm.checkpoint_roots", lambda: iter([tmp_path]))
    with pytest.raises(OvssError, match=r"no checkpoint 'micro-blip' .*`ovss train micro-blip`"):
        load_vlm("micro-blip")


def test_trained_systems_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_checkpoint("micro-pacl").name == "micro-pacl"
    monkeypatch.setattr("ovsslib.vlm.checkpoint_roots", lambda: iter([tmp_path]))
    with pytest.raises(OvssError, match="train it with `ovss train micro-pacl`"):
        find_checkpoint("micro-pacl")


def test_unknown_name() -> None:
    with pytest.raises(OvssError, match=r"'micro-blib'; did you mean 'micro-blip'\?"):
        load_vlm("micro-blib")


@pytest.mark.parametrize("name", [None, 3, b"micro-blip", ["micro-blip"], "", 5000 * "x", "a\0b"])
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(OvssError, match=r"vlm must be str or PathLike|unknown vision-language"):
        load_vlm(name)  # type: ignore[arg-type]


def test_hub_id_without_network() -> None:
    with pytest.raises(OvssError, match=r"'nobody/nothing' is not on this machine: fetch it with"):
        load_vlm("nobody/nothing")


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match=r"holds no config\.json"):
        load_vlm(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"blip"'])
def test_broken_config(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(OvssError, match="is not a model's configuration"):
        load_vlm(tmp_path)


def test_other_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(OvssError, match=r"unknown architecture in .* 'bert'.*Known: .*blip"):
        load_vlm(tmp_path)


def test_unknown_dtype_and_device(tiny_blip: Path) -> None:  # noqa: F811
    with pytest.raises(OvssError, match="unknown dtype 'float61'; did you mean 'float16'"):
        load_vlm(tiny_blip, "cpu", "float61")
    with pytest.raises(OvssError, match="device 'toaster' cannot be used"):
        load_vlm(tiny_blip, "toaster")


@pytest.mark.parametrize(
    "device", ["meta", "hpu", "ipu", "xla", "vulkan", "privateuseone", "cpu:x", "-1", 2.5]
)
def test_devices_that_cannot_compute(device: Any) -> None:
    """torch's own words are up to 8 kB long."""
    with pytest.raises(OvssError, match=r"^device '.*' cannot be used here \(.+\); give cpu") as e:
        open_device(device)
    assert len(str(e.value)) < 300
    assert "\n" not in str(e.value)


def change(name: str, *keys: str, to: Any) -> Callable[[Path], object]:
    """Damage one field of a JSON file in a checkpoint."""

    def damage(folder: Path) -> None:
        whole = fields = json.loads((folder / name).read_text())
        for key in keys[:-1]:
            fields = fields[key]
        fields[keys[-1]] = to
        (folder / name).write_text(json.dumps(whole))

    return damage


def recast(folder: Path) -> None:
    """Quantised by hand."""
    weights = load_file(folder / "model.safetensors")
    weights = {name: (8 * value).to(torch.int8) for name, value in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def empty(folder: Path) -> None:
    save_file({}, folder / "model.safetensors", metadata={"format": "pt"})


def transpose(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for name, value in weights.items():
        weights[name] = value.mT.contiguous() if value.ndim == 2 else value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


PROCESSOR = "processor_config.json"
COLOURS = [
    (["a", "b", "c"], "image_mean must be three numbers from 0 to 1, got ['a', 'b', 'c']"),
    ("grey", "image_mean"), (None, "image_mean"), (0.5, "image_mean"), ([0.5, 0.5], "image_mean"),
    ([[0.5], [0.5], [0.5]], "image_mean"), ([0.5, float("nan"), 0.5], "image_mean"),
    ([123.7, 116.3, 103.5], "image_mean"), ({"r": 1, "g": 1, "b": 1}, "image_mean"),
]  # fmt: skip
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        f"mean {value}": (change(PROCESSOR, "image_processor", "image_mean", to=value), words)
        for value, words in COLOURS
    },
    "std 0": (change(PROCESSOR, "image_processor", "image_std", to=[0, 1, 1]), "image_std"),
    "std < 0": (change(PROCESSOR, "image_processor", "image_std", to=[-1, 1, 1]), "image_std"),
    "std 255": (change(PROCESSOR, "image_processor", "image_std", to=[58, 57, 57]), "image_std"),
    "not normalised": (
        change(PROCESSOR, "image_processor", "do_normalize", to=False), "do_normalize must be true"
    ),
    "null": (change(PROCESSOR, "image_processor", to=None), f"{PROCESSOR} cannot be read"),
    "list": (change(PROCESSOR, "image_processor", to=[1]), f"{PROCESSOR} cannot be read"),
    "integers": (recast, "has the type int8, and quantised weights are not supported"),
    "empty": (empty, ""),
    "transposed": (transpose, "shape"),
    "wide": (change("config.json", "vision_config", "hidden_size", to=10**9), "at most 1000000"),
    "negative": (change("config.json", "vision_config", "patch_size", to=-3), "patch_size must be"),
    "no vision": (change("config.json", "vision_config", to=[3]), ""),
    "tokenizer null": (lambda f: (f / "tokenizer.json").write_text("null"), "load the tokenizer"),
    "tokenizer bytes": (lambda f: (f / "tokenizer.json").write_bytes(b"\xff\0"), "the tokenizer"),
    "no words": (change("tokenizer.json", "model", "vocab", to={}), "tokenizer"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("family", ["blip", "blip2", "bridgetower"])
def test_damaged_checkpoints(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, damage: str
) -> None:
    folder = shutil.copytree(request.getfixturevalue(f"tiny_{family}"), tmp_path / "copy")
    harm, words = DAMAGES[damage]
    harm(folder)
    with pytest.raises(OvssError, match=re.escape(words)) as caught:
        load_vlm(folder, "cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("family", "keys"),
    [
        ("blip", ("text_config", "max_position_embeddings")),
        ("blip2", ("qformer_config", "vocab_size")),
        ("bridgetower", ("text_config", "intermediate_size")),
    ],
)
def test_no_memory_is_asked_for(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, keys: tuple[str, ...]
) -> None:
    """Sizes that some network might have, but not the one whose weights are stored."""
    folder = shutil.copytree(request.getfixturevalue(f"tiny_{family}"), tmp_path / "copy")
    change("config.json", *keys, to=1_000_000)(folder)
    # BLIP's network is compared on the meta device; transformers would fill one of this size.
    words = "has the shape" if family == "blip" else r"asks for \d+ weights, but \d+ are stored"
    with pytest.raises(OvssError, match=words):
        load_vlm(folder, "cpu")
