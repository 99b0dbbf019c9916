"""Finding and loading models by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.vlm import find_checkpoint, load_vlm
from support.helpers import tiny_blip  # noqa: F401 - a fixture


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
