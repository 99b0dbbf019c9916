"""The BridgeTower matcher against transformers' own class; spans of names; checkpoints."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.pnp.presets import default_preset
from ovsslib.pnp.prompt import build_prompts
from ovsslib.pnp.salience import layer_gradients
from ovsslib.vlm import load_vlm
from ovsslib.vlm.bridgetower import BridgeTowerMatcher, load_bridgetower
from ovsslib.vlm.inputs import load_tokenizer, pad_texts
from support.helpers import write_photo
from support.tiny_bridgetower import (  # noqa: F401 - a fixture among them
    WORDS,
    make_model,
    make_tokenizer,
    tiny_bridgetower,
)
from support.whole_graph import bridgetower_graph, check_batch, leaves, slopes

CPU = torch.device("cpu")
TEXTS = ["a picture of cat", "a picture of hot dog traffic light sky grass", "a picture of 猫 sky"]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
_VISION = {"hidden_size": 192, "patch_size": 8, "image_size": 32}
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "scaled links": {"link_tower_type": "scaled_add"},
    "mixed links": {
        "link_tower_type": "interpolate",
        "share_cross_modal_transformer_layers": False,
    },
    "other depths": {
        "num_hidden_layers": 2,
        "vision_config": {**_VISION, "num_hidden_layers": 6, "remove_last_layer": True},
    },
    "every layer": {
        "num_hidden_layers": 4,
        "vision_config": {**_VISION, "num_hidden_layers": 4, "share_layernorm": False},
    },
    "one layer": {"num_hidden_layers": 1},
}


@pytest.fixture(scope="module")
def matcher(tiny_bridgetower: Path) -> BridgeTowerMatcher:  # noqa: F811
    return load_bridgetower(tiny_bridgetower, "tiny", torch.float32, CPU)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(WORDS.split())


@pytest.fixture
def pixels() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_transformers(variant: str, tokenizer: Any, pixels: Tensor) -> None:
    for dtype, tolerance in TOLERANCE.items():
        theirs = make_model(len(tokenizer), **VARIANTS[variant]).to(dtype)
        assert theirs.config._attn_implementation == "eager"
        mine = BridgeTowerMatcher(copy.deepcopy(theirs), tokenizer.backend_tokenizer)
        texts = [mine.tokenize(text) for text in TEXTS]
        ids, mask = pad_texts(texts, 1)
        assert mask is not None
        for side in (32, 48):
            seen = torch.nn.functional.interpolate(pixels.to(dtype), side)
            tokens = mine.encode_images(seen)
            assert tokens.shape == (3, 1 + (side // 8) ** 2, 32 * mine.layers)
            for layer in range(1, mine.layers + 1):
                inputs = {"input_ids": ids, "attention_mask": mask.long(), "pixel_values": seen}
                wanted = bridgetower_graph(theirs, layer, **inputs)
                match = mine.match(tokens, texts, layer, gradient=True)
                got = (match.logits.detach(), match.attention.detach(), slopes(match))
                for name, one, two in zip(("logits", "map", "slope"), got, wanted, strict=True):
                    # What a padded word looks at is nobody's business.
                    keep = mask[:, None, :, None] if name == "map" else True
                    far = float(((one - two) * keep).abs().max())
                    assert one.dtype == dtype
                    assert far < tolerance, (name, side, layer, far)
                # Not equal because nothing happens.
                assert wanted[1].std() > 1e-3
                assert wanted[2].abs().max() > 1e-2
                # The last layer's words do not reach the match, but for the first.
                assert (wanted[2][:, :, 1:].abs().max() > 0) == (layer < mine.layers)


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_layers_in_one_graph(variant: str, tokenizer: Any, pixels: Tensor) -> None:
    theirs = make_model(len(tokenizer), **VARIANTS[variant]).double()
    mine = BridgeTowerMatcher(copy.deepcopy(theirs), tokenizer.backend_tokenizer)
    texts = [mine.tokenize(text) for text in TEXTS]
    ids, mask = pad_texts(texts, 1)
    assert mask is not None
    tokens = mine.encode_images(pixels.double())
    match = mine.match_layers(tokens, texts)
    assert len(match.attention) == mine.layers
    assert [looks.is_leaf for looks in match.attention] == [True] + [False] * (mine.layers - 1)
    found = layer_gradients(match)
    for layer, (looks, slope) in enumerate(zip(match.attention, found, strict=True), start=1):
        alone = mine.match(tokens, texts, layer, gradient=True)
        assert (alone.logits - match.logits).abs().max() < 1e-12
        assert (alone.attention - looks).abs().max() < 1e-12
        assert (slopes(alone) - slope).abs().max() < 1e-12
        whole = {"input_ids": ids, "attention_mask": mask.long(), "pixel_values": pixels.double()}
        assert (bridgetower_graph(theirs, layer, **whole)[2] - slope).abs().max() < 1e-10
        assert slope.abs().max() > 1e-2
    still = mine.match_layers(tokens, texts, gradient=False)
    assert not any(looks.requires_grad for looks in [still.logits, *still.attention])
    with pytest.raises(OvssError, match="not from bridgetower"):
        mine.match_layers(tokens[..., 1:], texts)


@pytest.mark.parametrize("gradient", [True, False])
def test_batch_equals_single(matcher: BridgeTowerMatcher, pixels: Tensor, gradient: bool) -> None:
    texts = [matcher.tokenize(text) for text in TEXTS]
    together = check_batch(matcher, pixels, texts, gradient=gradient)
    assert torch.allclose(together.attention.sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_graph_leads_from_the_attention_only(
    matcher: BridgeTowerMatcher, pixels: Tensor, layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = matcher.encode_images(pixels).requires_grad_()
    visual = matcher.model.bridgetower.vision_model.visual
    monkeypatch.setattr(visual, "forward_pre", None)  # match must not run the image encoder again
    texts = [matcher.tokenize(text) for text in TEXTS]
    match = matcher.match(tokens, texts, layer, gradient=True)
    assert match.attention.is_leaf
    assert leaves(match.logits.grad_fn) == {match.attention}
    match.logit.sum().backward()
    assert tokens.grad is None
    assert not any(w.requires_grad or w.grad is not None for w in matcher.model.parameters())
    assert not any("edit" in name for part in matcher.model.modules() for name in vars(part))
    plain = matcher.match(tokens, texts, layer)
    assert not plain.logits.requires_grad
    assert not plain.attention.requires_grad
    assert torch.allclose(plain.logits, match.logits, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(
    tiny_bridgetower: Path,  # noqa: F811
    matcher: BridgeTowerMatcher,
    pixels: Tensor,
    dtype: torch.dtype,
) -> None:
    half = load_bridgetower(tiny_bridgetower, "tiny", dtype, CPU)
    assert half.dtype == dtype
    texts = [matcher.tokenize(text) for text in TEXTS]
    for side in (32, 48):
        seen = torch.nn.functional.interpolate(pixels, side)
        wanted = matcher.match(matcher.encode_images(seen), texts, 2)
        got = half.match(half.encode_images(seen), texts, 2, gradient=True)
        assert torch.allclose(got.probability, wanted.probability, atol=0.03)
        assert torch.allclose(got.attention.float(), wanted.attention, atol=0.02)
        assert torch.isfinite(slopes(got)).all()


def test_preprocess_equals_the_processor(
    matcher: BridgeTowerMatcher,
    tiny_bridgetower: Path,  # noqa: F811
) -> None:
    from transformers.models.bridgetower.image_processing_pil_bridgetower import (
        BridgeTowerImageProcessorPil,
    )

    square = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 70, 3), np.uint8))
    processor = BridgeTowerImageProcessorPil.from_pretrained(tiny_bridgetower)
    wanted = processor(square, return_tensors="pt")["pixel_values"]
    assert torch.allclose(matcher.preprocess([square]), wanted, atol=1e-5)
    assert matcher.preprocess([Image.new("RGB", (30, 99))], 64).shape == (1, 3, 64, 64)
    with pytest.raises(OvssError, match="33 is not a multiple of the 8-pixel patch; try 32"):
        matcher.preprocess([square], 33)


@pytest.mark.parametrize("settings", [{}, {"preset": "bridgetower", "head": 4, "image_size": 48}])
def test_pipeline(tiny_bridgetower: Path, tmp_path: Path, settings: dict[str, Any]) -> None:  # noqa: F811
    segmenter = ovsslib.load("pnp-ovss", vlm=tiny_bridgetower, device="cpu", **settings)
    photo = write_photo(tmp_path / "photo.png")
    found = segmenter.segment(photo, ["dog", "hot dog", "猫"])
    assert found.labels.shape == (48, 64)
    assert found.planes.shape[0] == 3
    assert np.isfinite(found.planes).all()
    again = segmenter.segment_batch([photo, photo], [["sky"], ["dog", "hot dog", "猫"]])[1]
    assert (again.labels == found.labels).mean() > 0.99


def test_default_preset(matcher: BridgeTowerMatcher) -> None:
    assert default_preset(matcher) == "micro-blip"  # too small for head 8
    text = {"vocab_size": 400, "hidden_size": 64, "num_attention_heads": 16}
    wide = make_model(400, hidden_size=64, num_hidden_layers=6, text_config=text, vision_config={})
    assert default_preset(BridgeTowerMatcher(wide, matcher.tokenizer, name="mine")) == "bridgetower"


def pieces(tokenizer: Any, tokens: Any, span: tuple[int, ...]) -> str:
    """What a span's tokens stand for, spaces left out."""
    return tokenizer.decode([tokens.ids[position] for position in span]).replace(" ", "")


def test_spans_of_names(matcher: BridgeTowerMatcher, tiny_bridgetower: Path) -> None:  # noqa: F811
    names = ["dog", "hot dog", "hot air balloon", "猫", "hot 猫 dog", "ïn", "dogs", "zyx"]
    (prompt,) = build_prompts(names, matcher.tokenize, max_tokens=matcher.max_tokens)
    found = [pieces(matcher.tokenizer, prompt.tokens, span) for span in prompt.spans]
    assert found == [name.replace(" ", "") for name in names]
    assert [len(span) for span in prompt.spans[:4]] == [1, 2, 3, 3]  # 猫 has three bytes
    assert prompt.tokens.special[0]
    assert prompt.tokens.special[-1]
    assert not any(prompt.tokens.unknown)
    assert matcher.tokenize("<unk> dog").unknown == (False, True, False, False)
    # The space before a word is left out of its range, even if the tokenizer leaves it in.
    fields = json.loads((tiny_bridgetower / "tokenizer.json").read_text())
    fields["post_processor"]["trim_offsets"] = False
    loose = matcher.tokenizer.from_str(json.dumps(fields))
    assert loose.encode("a dog").offsets[2] == (1, 5)
    other = BridgeTowerMatcher(matcher.model, loose)
    assert other.tokenize(prompt.text) == prompt.tokens


letters = st.text("abcdEé猫🐈ß-'.", min_size=1, max_size=4)
names_strategy = st.lists(
    st.lists(letters, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=8, unique=True
)


@settings(max_examples=15, deadline=None)
@given(st.lists(letters, max_size=12), names_strategy, st.sampled_from([" ", ", "]))
def test_spans_for_any_vocabulary(words: list[str], names: list[str], separator: str) -> None:
    tokenizer = make_tokenizer([*words, "picture"]).backend_tokenizer
    mine = BridgeTowerMatcher(make_model(400), tokenizer)
    prompts = build_prompts(names, mine.tokenize, separator=separator, max_tokens=80)
    assert [index for prompt in prompts for index in prompt.classes] == list(range(len(names)))
    for prompt in prompts:
        assert len(prompt.tokens.ids) <= 80
        used = [position for span in prompt.spans for position in span]
        assert used == sorted(set(used))  # names in order share no token
        for index, span in zip(prompt.classes, prompt.spans, strict=True):
            found = pieces(tokenizer, prompt.tokens, span)
            # A comma may be part of the token of the sign before it.
            assert found.removesuffix(",") == names[index].replace(" ", "")


@pytest.fixture
def folder(tiny_bridgetower: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A copy to break."""
    return Path(shutil.copytree(tiny_bridgetower, tmp_path / "copy"))


def change_weights(folder: Path, *, without: str = "", **more: torch.Tensor) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors") | more
    weights = {name: value for name, value in weights.items() if name != without}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_what_a_folder_says(tiny_bridgetower: Path) -> None:  # noqa: F811
    matcher = load_vlm(tiny_bridgetower, "cpu")
    assert isinstance(matcher, BridgeTowerMatcher)
    assert matcher.name == tiny_bridgetower.name
    assert (matcher.layers, matcher.heads, matcher.image_size, matcher.patch_size) == (3, 4, 32, 8)
    assert matcher.max_tokens == 64  # 66 positions, of which RoBERTa leaves two unused
    longest = matcher.tokenize("q" * 62)
    assert len(longest.ids) == 64
    match = matcher.match(matcher.encode_images(torch.zeros(1, 3, 32, 32)), [longest], 3)
    assert match.attention.shape == (1, 4, 64, 17)


def test_weights_of_other_heads_are_ignored(folder: Path) -> None:
    more = {"mlm_score.bias": torch.zeros(9), "logit_scale": torch.zeros(())}
    change_weights(folder, **more, **{"itc_text_head.fc.weight": torch.zeros(3, 3)})
    assert load_vlm(folder, "cpu").layers == 3
    change_weights(folder, **{"itm_score.more": torch.zeros(1)})
    with pytest.raises(
        OvssError, match=r"holds 1 weights that BridgeTower\w+ lacks \(itm_score.more"
    ):
        load_vlm(folder, "cpu")


def test_missing_weights(folder: Path) -> None:
    change_weights(folder, without="itm_score.fc.weight")
    with pytest.raises(OvssError, match=r"lacks 1 weights that \w+ needs \(itm_score.fc.weight"):
        load_vlm(folder, "cpu")


def test_truncated_weights(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OvssError, match=r"cannot load the model in .*fetch it again") as caught:
        load_vlm(folder, "cpu")
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OvssError, match=r"holds no model\.safetensors"):
        load_vlm(folder, "cpu")


def test_wrong_layer_and_foreign_tokens(tiny_bridgetower: Path) -> None:  # noqa: F811
    matcher = load_vlm(tiny_bridgetower, "cpu")
    text = matcher.tokenize("cat")
    for layer in (0, 4):
        with pytest.raises(OvssError, match=f"layer {layer} does not exist; .* layers 1 to 3"):
            matcher.match(torch.zeros(1, 17, 96), [text], layer)
    with pytest.raises(OvssError, match=r"\(1, 17, 32\) are not from .* have 96 features"):
        matcher.match(torch.zeros(1, 17, 32), [text], 1)


def test_tokenizers(folder: Path) -> None:
    expected = load_tokenizer(folder)
    fields = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(OvssError, match=r"holds no tokenizer\.json"):
        load_vlm(folder, "cpu")
    # Older checkpoints hold RoBERTa's two files.
    (folder / "vocab.json").write_text(json.dumps(fields["vocab"]))
    merges = [" ".join(pair) for pair in fields["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    read = load_tokenizer(folder)
    for text in ("A picture of hot dog 猫", "<mask> zyx"):
        assert read.encode(text).ids == expected.encode(text).ids
    large = make_tokenizer([f"{n}word{n}" for n in range(99)], size=999)
    large.save_pretrained(folder)
    with pytest.raises(OvssError, match=r"has \d+ entries for \d+ embeddings"):
        load_vlm(folder, "cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 64}, "weights whose shape is not"),
        ({"num_hidden_layers": 5}, "lacks 112 weights"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive whole number"),
        ({"link_tower_type": "ad"}, "link_tower_type ad"),
        ({"share_link_tower_layers": True}, "cross_modal_image_link_tower"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps must be a number from 0 to 1, got 'x'"),
        ({"text_config": {"num_attention_heads": 5}}, r"heads \(5\)"),
        ({"text_config": 5}, "'text_config' with value 5"),
        ({"vision_config": {"hidden_size": 129}}, "must be divisible"),
        ({"vision_config": {"patch_size": [8, 8]}}, "list"),
        ({"text_config": {"pad_token_id": "x"}}, "'pad_token_id'"),
        ({"text_config": {"pad_token_id": 64}}, "66 position embeddings leave no room for a text"),
    ],
)
def test_impossible_settings(folder: Path, fields: dict[str, Any], message: str) -> None:
    """Most are transformers' own words; ours is that the folder is named, on one line."""
    config = json.loads((folder / "config.json").read_text())
    for key, value in fields.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(OvssError, match=message) as caught:
        load_vlm(folder, "cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
