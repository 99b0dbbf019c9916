"""Weights from every kind of file, and what is wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.vlm.weights import check_size, fill, read_weights


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {name: torch.rand(2, 3) for name in ("a.weight", "b.weight", "c")}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "parts"])
def test_files(tmp_path: Path, weights: dict[str, Tensor], kind: str, whole: bool) -> None:
    stem = "model" if kind == "safetensors" else "pytorch_model"
    save = save_file if kind == "safetensors" else torch.save
    if whole:
        save(weights, tmp_path / f"{stem}.{kind}")
    else:
        parts = [f"{stem}-0000{n}-of-00002.{kind}" for n in (1, 2)]
        save({"c": weights["c"]}, tmp_path / parts[0])
        save({n: weights[n] for n in ("a.weight", "b.weight")}, tmp_path / parts[1])
        where = {"c": parts[0], "a.weight": parts[1], "b.weight": parts[1]}
        (tmp_path / f"{stem}.{kind}.index.json").write_text(json.dumps({"weight_map": where}))
    assert same(read_weights(tmp_path), weights)


def test_safetensors_come_first(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "model.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert same(read_weights(tmp_path), weights)


class Harm:
    """Runs a command when it is unpickled by a careless reader."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def test_pickles_run_no_code(tmp_path: Path) -> None:
    torch.save({"a": Harm(tmp_path / "harm")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OvssError, match="cannot load the model") as caught:
        read_weights(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_unreadable(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    def fails(words: str = "") -> None:
        with pytest.raises(OvssError, match=rf"cannot load the model in .*{words}.*fetch it again"):
            read_weights(tmp_path)

    fails(r"it holds no model\.safetensors")
    index = tmp_path / "pytorch_model.bin.index.json"
    for text in ("{", "{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": "gone.bin"}}'):
        index.write_text(text)
        fails()
    for data in (b"", b"no pickle"):
        (tmp_path / "pytorch_model.bin").write_bytes(data)
        fails()
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    fails()
    save_file(weights, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    for keep in (0, 4, 20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "model.safetensors").write_bytes(whole[:keep])
        fails()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_whole_numbers_are_no_weights(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    tensors = {"a.weight": torch.ones(2), "b.position_ids": torch.arange(3)}
    save = save_file if name.endswith("safetensors") else torch.save
    save(tensors, tmp_path / name)
    assert read_weights(tmp_path).keys() == tensors.keys()
    save({**tensors, "c.weight": torch.ones(2).to(dtype)}, tmp_path / name)
    word = str(dtype).removeprefix("torch.")
    with pytest.raises(OvssError, match=f"c.weight has the type {word}, and quantised weights"):
        read_weights(tmp_path)


def test_open_clips_files(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save({"state_dict": weights}, tmp_path / "open_clip_pytorch_model.bin")
    assert same(read_weights(tmp_path), weights)


def test_a_network_much_larger_than_its_file(weights: dict[str, Tensor]) -> None:
    check_size(36, weights, "here")
    with pytest.raises(OvssError, match=r"^here: its configuration asks for 37 weights, but 18 "):
        check_size(37, weights, "here")


def make_module() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


def test_fill() -> None:
    source = make_module()
    with torch.device("meta"):
        module = make_module()
    given = {**source.state_dict(), "embeddings.position_ids": torch.arange(3)}
    fill(module, given, "Net")
    assert same(module.state_dict(), source.state_dict())
    assert "embeddings.position_ids" in given


def test_every_weight_counts() -> None:
    given = make_module().state_dict()
    lacking = {name: value for name, value in given.items() if not name.startswith("1")}
    with pytest.raises(OvssError, match=r"^here lacks 2 weights of Net \(1\.bias, \.\.\.\)$"):
        fill(make_module(), lacking, "Net", where="here")
    with pytest.raises(OvssError, match=r"^here holds 1 weights that Net lacks \(extra, \.\.\.\)$"):
        fill(make_module(), {**given, "extra": torch.ones(1)}, "Net", where="here")
    with pytest.raises(OvssError, match=r"0\.weight has the shape \(2, 4\) but .* \(2, 3\)"):
        fill(make_module(), {**given, "0.weight": torch.ones(2, 4)}, "Net")
