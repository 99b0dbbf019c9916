"""Checkpoints in LAVIS's own format: the same network as from transformers' format, or an error."""

# ruff: noqa: F811 - fixtures are imported by name
from __future__ import annotations

import hashlib
import http.server
import json
import os
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ovsslib.errors import OvssError
from ovsslib.vlm import find_checkpoint, load_vlm
from ovsslib.vlm.lavis.checkpoint import read_checkpoint, sizes_of, sort_names
from ovsslib.vlm.lavis.names import transformers_name
from ovsslib.vlm.lavis.tokenizer import find_tokenizer
from support.helpers import tiny_vocabulary
from support.lavis_files import (  # noqa: F401 - fixtures among them
    assert_equal,
    folder,
    lavis_name,
    look,
    state,
    write,
    write_vocabulary,
)


def test_equals_transformers_format(folder: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "model_tiny.pth", state, config={"image_size": 48})
    matcher = load_vlm(path, "cpu")
    assert_equal(matcher, load_vlm(folder, "cpu"))
    assert matcher.name == "model_tiny"
    assert (matcher.image_size, matcher.patch_size, matcher.layers, matcher.heads) == (48, 8, 2, 1)
    assert matcher.max_tokens == 40
    assert find_checkpoint(path) == path
    half = load_vlm(str(path), "cpu", "bfloat16")
    assert_equal(half, load_vlm(folder, "cpu", "bfloat16"))


@pytest.mark.parametrize("kind", ["bare", "before 1.6", "half", "pre-training"])
def test_other_ways_to_write_it(
    folder: Path, state: dict[str, Tensor], tmp_path: Path, kind: str
) -> None:
    path = write(tmp_path / "m.pth", state)
    if kind == "bare":
        torch.save(state, path)
    elif kind == "before 1.6":
        torch.save({"model": state}, path, _use_new_zipfile_serialization=False)
        assert not zipfile.is_zipfile(path)
    elif kind == "pre-training":
        torch.save({"model": {**state, "text_decoder.cls.bias": torch.ones(3)}}, path)
    else:
        torch.save({"model": {k: v.half() for k, v in state.items()}}, path)
        assert load_vlm(path, "cpu").dtype == torch.float32  # type: ignore[attr-defined]
        return
    assert_equal(load_vlm(path, "cpu"), load_vlm(folder, "cpu"))


def test_names(state: dict[str, Tensor]) -> None:
    needed, ignored = sort_names(state)
    assert sorted(needed + ignored) == sorted(state)
    assert {name.partition(".")[0] for name in needed} == {
        "visual_encoder", "text_encoder", "vision_proj", "text_proj", "itm_head",
    }  # fmt: skip
    assert {"temp", "image_queue", "text_proj_m.bias"} <= set(ignored)
    assert "text_encoder.embeddings.position_ids" in ignored
    for name in needed:
        assert lavis_name(transformers_name(name)) == name


@pytest.mark.parametrize(
    ("width", "depth", "side", "heads"), [(768, 12, 24, 12), (1024, 24, 24, 16)]
)
def test_shapes_of_the_published_models(width: int, depth: int, side: int, heads: int) -> None:
    """ViT-B and ViT-L with BERT base; on meta no weight has any memory."""
    with torch.device("meta"):
        weights = {
            "visual_encoder.patch_embed.proj.weight": torch.empty(width, 3, 16, 16),
            "visual_encoder.pos_embed": torch.empty(1, 1 + side**2, width),
            "text_encoder.embeddings.word_embeddings.weight": torch.empty(30524, 768),
            "text_encoder.embeddings.position_embeddings.weight": torch.empty(512, 768),
            "text_proj.weight": torch.empty(256, 768),
        }
        for n in range(depth):
            weights[f"visual_encoder.blocks.{n}.mlp.fc1.weight"] = torch.empty(4 * width, width)
        for n in range(12):
            name = f"text_encoder.encoder.layer.{n}.intermediate.dense.weight"
            weights[name] = torch.empty(3072, 768)
    shape = sizes_of(weights)
    assert (shape.image.width, shape.image.inner, shape.image.layers) == (width, 4 * width, depth)
    assert (shape.image.heads, shape.text.heads, shape.text.layers) == (heads, 12, 12)
    assert (shape.image_size, shape.patch, shape.vocabulary, shape.shared) == (384, 16, 30524, 256)
    assert (shape.image.eps, shape.text.eps) == (1e-6, 1e-12)


def fails(path: Path, words: str) -> None:
    with pytest.raises(OvssError, match=words) as caught:
        load_vlm(path, "cpu")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


class Harm:
    """Makes a folder when it is unpickled by a careless reader."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


def test_files_that_are_none(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "m.pth", state)
    whole = path.read_bytes()
    for keep in (0, 1, 3, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        fails(path, "is no BLIP checkpoint in LAVIS's format: .*model_large_retrieval_flickr.pth")
    for data in (b"a text\n", b"<html>404</html>", b"\x80\x02.", b"PK\x03\x04", bytes(1000)):
        path.write_bytes(data)
        fails(path, "is no BLIP checkpoint in LAVIS's format: ")
    for what in (3, [1], {}, {"model": 3}, {"model": {}}, {"model": {"a": 1}}, {1: torch.ones(1)}):
        torch.save(what, path)
        fails(path, "is no BLIP checkpoint in LAVIS's format: .* a |it holds")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.txt", "no tensors")
    fails(path, "is no BLIP checkpoint in LAVIS's format: ")


def test_no_code_runs(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "m.pth", {**state, "more": Harm(tmp_path / "harm")})
    fails(path, r"holds more than tensors \(posix\.mkdir\), and code in a file is never run")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer1.0.conv1.weight": torch.ones(1)}, r"1 weights that .* lack \(layer1\.0\.conv1"),
        ({"visual_encoder.blocks.0.extra": torch.ones(1)}, r"1 weights that BLIP lacks"),
        ({"itm_head.weight": None, "itm_head.bias": None}, "no match head .*another task"),
        ({"visual_encoder.blocks.1.norm1.bias": None}, r"lacks 1 weights of BLIP"),
        ({"visual_encoder.pos_embed": torch.ones(1, 38, 128)}, "37 patches, which make no square"),
        ({"visual_encoder.pos_embed": torch.ones(37)}, r"pos_embed has the shape \(37,\)"),
        ({"visual_encoder.pos_embed": torch.ones(1, 37, 64)}, r"shape \(1, 37, 64\) but"),
        ({"itm_head.bias": torch.ones(3)}, r"shape \(3,\) but the network has \(2,\)"),
        ({"itm_head.bias": torch.ones(2, dtype=torch.int8)}, "the type torch.int8"),
        ({"text_proj.weight": None}, r"text_proj\.weight is missing"),
        ({"visual_encoder.blocks.0.mlp.fc1.weight": torch.ones(80, 96)}, "is 96 wide"),
    ],
)
def test_other_networks(
    state: dict[str, Tensor], tmp_path: Path, change: dict[str, Tensor | None], words: str
) -> None:
    merged = {**state, **change}
    path = write(tmp_path / "m.pth", {k: v for k, v in merged.items() if v is not None})
    fails(path, f"is no BLIP checkpoint in LAVIS's format: .*{words}")


def test_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("models/m.pth", "m.pth"):  # the first could be a hub id
        with pytest.raises(OvssError, match="no such file"):
            load_vlm(name)


def fake_hub(folder: Path, repo: str) -> Path:
    """The folder of a repository in a hub cache, as the hub's library lays it out."""
    base = folder / f"models--{repo.replace('/', '--')}"
    snapshot = base / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text("c" * 40)
    return snapshot


@pytest.mark.parametrize(
    "repo", ["bert-base-uncased", "google-bert/bert-base-uncased", "Salesforce/blip-itm-base-coco"]
)
def test_tokenizer_out_of_the_hub_cache(
    folder: Path,
    state: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repo: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    path = write(tmp_path / "m.pth", state)
    (tmp_path / "vocab.txt").unlink()
    fails(path, "no tokenizer for .*`hf download google-bert/bert-base-uncased tokenizer.json`")
    (fake_hub(tmp_path / "hub", "Salesforce/blip-itm-base-flickr") / "vocab.txt").write_text(
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\nof\nanother\nsize"
    )
    fails(path, "no tokenizer for ")
    there = fake_hub(tmp_path / "hub", repo)
    (there / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    assert_equal(load_vlm(path, "cpu"), load_vlm(folder, "cpu"))


def test_vocabulary_without_blips_own_tokens(state: dict[str, Tensor], tmp_path: Path) -> None:
    words = [word for word in tiny_vocabulary() if word not in ("[DEC]", "[ENC]")]
    (tmp_path / "vocab.txt").write_text("\r\n".join(words))
    tokenizer = find_tokenizer(tmp_path / "m.pth", len(words) + 2)
    assert tokenizer.get_vocab_size() == len(words)
    assert tokenizer.encode("[CLS] Cat hotdog").tokens[:3] == ["[CLS]", "[CLS]", "cat"]
    path = tmp_path / "m.pth"
    torch.save({"model": state}, path)
    matcher = load_vlm(path, "cpu")
    assert matcher._enc == len(words) + 1  # type: ignore[attr-defined]


def test_vocabularies_that_do_not_fit(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "m.pth", state)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n")
    fails(path, r"has 5 entries for \d+ embeddings")
    (tmp_path / "vocab.txt").write_text("cat\n")
    fails(tmp_path / "vocab.txt", "no BLIP checkpoint")
    with pytest.raises(OvssError, match=r"lacks \[PAD\]"):
        load_vlm(path, "cpu")
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(OvssError, match=r"vocab\.txt, line 1: not text in UTF-8"):
        load_vlm(path, "cpu")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(OvssError, match=r"cannot load the tokenizer"):
        load_vlm(path, "cpu")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux lists its mappings")
def test_tensors_are_mapped(state: dict[str, Tensor], tmp_path: Path) -> None:
    """They lie in the file, so that those which nobody uses are never read."""
    path = write(tmp_path / "m.pth", state)
    weights = read_checkpoint(path)
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    inside = [(int(low, 16), int(high, 16)) for low, high in spans]
    for value in weights.values():
        assert any(low <= value.data_ptr() < high for low, high in inside)


def test_from_an_address(
    folder: Path, state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "model_tiny.pth", state)
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    there = fake_hub(tmp_path / "hub", "bert-base-uncased")
    (there / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    url = f"http://127.0.0.1:{server.server_port}/model_tiny.pth#sha256={digest}"
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(OvssError, match=r"not on this machine: .*download=True"):
            load_vlm(url, "cpu")
        first = load_vlm(url, "cpu", download=True)
        server.shutdown()
    path.unlink()
    assert first.name == "model_tiny"
    assert_equal(load_vlm(url, "cpu"), load_vlm(folder, "cpu"))
    assert_equal(first, load_vlm(folder, "cpu"))
