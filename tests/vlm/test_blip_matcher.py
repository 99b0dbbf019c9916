"""The BLIP matcher against transformers' own class, and checkpoints that cannot be used."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.pnp.salience import attention_gradient, layer_gradients
from ovsslib.vlm.blip.matcher import BlipMatcher, load_blip, load_tokenizer, read_processor
from support.helpers import tiny_blip  # noqa: F401 - a fixture
from support.whole_graph import check_batch, slopes

CPU = torch.device("cpu")
TEXTS = ["a picture of cat", "a picture of traffic light hot air balloon sky", "a picture of sky"]


@pytest.fixture(scope="module")
def matcher(tiny_blip: Path) -> BlipMatcher:  # noqa: F811
    matcher = load_blip(tiny_blip, "tiny", torch.float32, CPU)
    generator = torch.Generator().manual_seed(1)
    for weight in matcher.model.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return matcher


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(2))


def transformers_model(folder: Path, matcher: BlipMatcher) -> Any:
    """The class of transformers with the matcher's weights."""
    from transformers import BlipForImageTextRetrieval

    model = BlipForImageTextRetrieval.from_pretrained(folder, dtype=matcher.dtype)
    model.load_state_dict(matcher.model.state_dict())
    return model.eval()


def hooks_of(model: torch.nn.Module) -> int:
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
        for part in model.modules()
    )


def test_preprocess_equals_the_processor(tiny_blip: Path, matcher: BlipMatcher) -> None:  # noqa: F811
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8))
    processor = BlipImageProcessorPil.from_pretrained(tiny_blip)
    expected = processor(image, return_tensors="pt")["pixel_values"]
    assert torch.allclose(matcher.preprocess([image]), expected, atol=1e-5)


def test_preprocess_sizes(matcher: BlipMatcher) -> None:
    images = [Image.new("RGB", size) for size in ((30, 40), (1, 1), (200, 10))]
    assert matcher.preprocess(images).shape == (3, 3, 96, 96)
    assert matcher.preprocess(images, 64).shape == (3, 3, 64, 64)
    with pytest.raises(
        OvssError, match="image_size 100 is not a multiple of the 8-pixel patch; try 96"
    ):
        matcher.preprocess(images, 100)


@pytest.mark.parametrize("side", [48, 96, 136])
def test_grid_follows_the_image_size(matcher: BlipMatcher, side: int) -> None:
    tokens = matcher.encode_images(torch.zeros(1, 3, side, side))
    assert tokens.shape == (1, 1 + (side // 8) ** 2, 32)
    assert not tokens.requires_grad
    match = matcher.match(tokens, [matcher.tokenize(TEXTS[0])], 1)
    assert match.attention.shape[-1] == tokens.shape[1]


def test_position_embeddings_are_interpolated_bicubically(matcher: BlipMatcher) -> None:
    embeddings = matcher.model.vision_model.embeddings
    grid = embeddings.position_embedding[:, 1:].reshape(1, 12, 12, 32).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, size=(16, 16), mode="bicubic")
    blank = torch.zeros(1, 3, 128, 128)
    added = embeddings(blank)[:, 1:]
    added = added - embeddings.patch_embedding(blank).flatten(2).transpose(1, 2)
    assert torch.allclose(added, expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_encoder_token_replaces_cls(
    tiny_blip: Path,  # noqa: F811
    matcher: BlipMatcher,
    pixels: torch.Tensor,
) -> None:
    model, text = transformers_model(tiny_blip, matcher), matcher.tokenize(TEXTS[0])
    tokens = matcher.encode_images(pixels[:1])
    mine = matcher.match(tokens, [text], 1).logits
    enc = matcher.tokenizer.token_to_id("[ENC]")
    for first, same in ((enc, True), (text.ids[0], False)):
        ids = torch.tensor([[first, *text.ids[1:]]])
        with torch.no_grad():
            scores = model(input_ids=ids, pixel_values=pixels[:1]).itm_score
        assert torch.allclose(scores, mine, atol=1e-5) is same


@pytest.mark.parametrize("gradient", [True, False])
def test_batch_equals_single(matcher: BlipMatcher, pixels: torch.Tensor, gradient: bool) -> None:
    texts = [matcher.tokenize(text) for text in TEXTS]
    check_batch(matcher, pixels, texts, gradient=gradient)


def test_attention_is_a_distribution(matcher: BlipMatcher, pixels: torch.Tensor) -> None:
    tokens = matcher.encode_images(pixels)
    attention = matcher.match(tokens, [matcher.tokenize(t) for t in TEXTS], 2).attention
    assert attention.shape == (3, 4, max(len(matcher.tokenize(t).ids) for t in TEXTS), 145)
    assert torch.allclose(attention.sum(-1), torch.ones(()), atol=1e-5)


def test_without_gradient_nothing_is_recorded(matcher: BlipMatcher, pixels: torch.Tensor) -> None:
    match = matcher.match(matcher.encode_images(pixels), [matcher.tokenize(TEXTS[0])] * 3, 1)
    assert not match.logits.requires_grad
    assert not match.attention.requires_grad


def test_graph_starts_at_the_attention(matcher: BlipMatcher, pixels: torch.Tensor) -> None:
    tokens = matcher.encode_images(pixels).requires_grad_()
    texts = [matcher.tokenize(TEXTS[0])] * 3
    match = matcher.match(tokens, texts, 2, gradient=True)
    assert match.attention.is_leaf
    match.logit.sum().backward()
    assert match.attention.grad is not None
    assert tokens.grad is None
    assert all(weight.grad is None for weight in matcher.model.parameters())
    assert not any(weight.requires_grad for weight in matcher.model.parameters())


def test_a_failed_forward_pass_leaves_nothing_behind(
    matcher: BlipMatcher, pixels: torch.Tensor
) -> None:
    text = matcher.tokenize(TEXTS[0])
    tokens = matcher.encode_images(pixels[:1])
    before = matcher.match(tokens, [text], 1, gradient=True)
    with pytest.raises(RuntimeError):
        matcher.match(torch.zeros(1, 5, 7), [text], 1, gradient=True)  # width 7 is not 32
    assert torch.is_grad_enabled()
    after = matcher.match(tokens, [text], 1, gradient=True)
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(slopes(after), slopes(before))
    # Nothing is watched through hooks: the network hands the attention back.
    assert hooks_of(matcher.model) == 0


def test_takes_the_model_of_transformers(
    tiny_blip: Path,  # noqa: F811
    matcher: BlipMatcher,
    pixels: torch.Tensor,
) -> None:
    theirs = transformers_model(tiny_blip, matcher)
    wrapped = BlipMatcher(theirs, matcher.tokenizer)
    text = matcher.tokenize(TEXTS[1])
    mine = matcher.match(matcher.encode_images(pixels[:1]), [text], 2)
    again = wrapped.match(wrapped.encode_images(pixels[:1]), [text], 2)
    assert torch.equal(again.logits, mine.logits)
    # Its tensors are shared, and it may be trained on.
    assert wrapped.model.itm_head.weight.data_ptr() == theirs.itm_head.weight.data_ptr()
    assert theirs.itm_head.weight.requires_grad


@pytest.mark.parametrize("layer", [0, 3])
def test_missing_layer(matcher: BlipMatcher, layer: int) -> None:
    with pytest.raises(OvssError, match=f"layer {layer} does not exist; tiny has layers 1 to 2"):
        matcher.match(torch.zeros(1, 145, 32), [matcher.tokenize("cat")], layer)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tiny_blip: Path, pixels: torch.Tensor, dtype: torch.dtype) -> None:  # noqa: F811
    full = load_blip(tiny_blip, "tiny", torch.float32, CPU)
    half = load_blip(tiny_blip, "tiny", dtype, CPU)
    assert half.dtype == dtype
    texts = [full.tokenize(text) for text in TEXTS]
    expected = full.match(full.encode_images(pixels), texts, 1)
    got = half.match(half.encode_images(pixels), texts, 1, gradient=True)
    assert torch.allclose(got.probability, expected.probability, atol=0.02)
    assert torch.allclose(got.attention.float(), expected.attention, atol=0.002)
    assert torch.isfinite(slopes(got)).all()


def test_tokens_name_special_and_unknown(matcher: BlipMatcher) -> None:
    tokens = matcher.tokenize("cat 猫")
    assert tokens.special == (True, False, False, True)
    assert tokens.unknown == (False, False, True, False)
    assert tokens.offsets[1:3] == ((0, 3), (4, 5))


def test_all_layers_at_once(matcher: BlipMatcher, pixels: torch.Tensor) -> None:
    """Each layer's attention and derivative are those of a pass for it alone; texts are padded."""
    texts = [matcher.tokenize(text) for text in ("a dog", "a picture of hot air balloon sky")]
    tokens = matcher.encode_images(pixels)[: len(texts)]
    for score in ("match", "margin"):
        match = matcher.match_layers(tokens, texts)
        found = layer_gradients(match, score)
        assert len(match.attention) == len(found) == matcher.layers
        for layer, (looks, slope) in enumerate(zip(match.attention, found, strict=True), start=1):
            alone = matcher.match(tokens, texts, layer, gradient=True)
            assert torch.allclose(alone.logits, match.logits, atol=1e-6)
            assert torch.allclose(alone.attention, looks, atol=1e-6)
            wanted = attention_gradient(alone, score)
            assert (wanted - slope).abs().max() < 1e-5 * wanted.abs().max()
    still = matcher.match_layers(tokens, texts, gradient=False)
    assert not any(looks.requires_grad for looks in [still.logits, *still.attention])


def test_enc_of_hub_checkpoints_is_the_last_embedding(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    full = load_blip(tiny_blip, "tiny", torch.float32, CPU)
    fields = json.loads((tiny_blip / "tokenizer.json").read_text())
    vocabulary = fields["model"]["vocab"]
    words = [word for word in vocabulary if word not in ("[ENC]", "[DEC]")]
    fields["model"]["vocab"] = {word: index for index, word in enumerate(words)}
    fields["added_tokens"] = [
        {**token, "id": words.index(token["content"])}
        for token in fields["added_tokens"]
        if token["content"] in words
    ]
    for special in fields["post_processor"]["special_tokens"].values():
        special["ids"] = [words.index(token) for token in special["tokens"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.token_to_id("[ENC]") is None
    assert BlipMatcher(full.model, tokenizer)._enc == len(vocabulary) - 1
    del fields["model"]["vocab"]["zzz" if "zzz" in fields["model"]["vocab"] else "##z"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(OvssError, match=r"no \[ENC\] token"):
        BlipMatcher(full.model, load_tokenizer(tmp_path))


def test_tokenizer_from_a_vocabulary_file(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    expected = load_tokenizer(tiny_blip)
    vocabulary = sorted(expected.get_vocab().items(), key=lambda entry: entry[1])
    (tmp_path / "vocab.txt").write_text("\n".join(word for word, _ in vocabulary) + "\n")
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(tiny_blip / name, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text).ids == expected.encode(text).ids


def test_folder_without_a_tokenizer(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "bare"
    shutil.copytree(tiny_blip, folder)
    (folder / "tokenizer.json").unlink()
    message = f"^{re.escape(str(folder))} holds no tokenizer.json; fetch the checkpoint again$"
    with pytest.raises(OvssError, match=message):
        load_tokenizer(folder)
    with pytest.raises(OvssError, match=message):
        load_blip(folder, "bare", torch.float32, CPU)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(OvssError, match=r"cannot load the tokenizer in .*; fetch it again"):
        load_blip(folder, "bare", torch.float32, CPU)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_processor_files_of_both_generations(tmp_path: Path, name: str) -> None:
    fields: dict[str, Any] = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    if name.startswith("processor"):
        fields = {"image_processor": fields}
    (tmp_path / name).write_text(json.dumps(fields))
    assert read_processor(tmp_path) == {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3]}
    assert read_processor(tmp_path / "nowhere") == {}


def test_broken_settings(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "broken"
    shutil.copytree(tiny_blip, folder)
    (folder / "processor_config.json").write_text("[")
    with pytest.raises(OvssError, match=r"processor_config\.json cannot be read; fetch it again"):
        load_blip(folder, "broken", torch.float32, CPU)
    fields = json.loads((folder / "config.json").read_text())
    fields["vision_config"]["patch_size"] = -1
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(OvssError, match=r"config\.json: the model's patch_size must be a positive"):
        load_blip(folder, "broken", torch.float32, CPU)


def test_absent_weights_are_an_error(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny_blip, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["itm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OvssError, match=r"lacks 1 weights of BLIP \(itm_head.weight"):
        load_blip(folder, "broken", torch.float32, CPU)


def test_truncated_weights(tiny_blip: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "broken"
    shutil.copytree(tiny_blip, folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OvssError, match=r"cannot load the model in .*fetch it again") as caught:
        load_blip(folder, "broken", torch.float32, CPU)
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    with pytest.raises(OvssError, match="cannot load the model"):
        load_blip(folder, "broken", torch.float32, CPU)
