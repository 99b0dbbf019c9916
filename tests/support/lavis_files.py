"""A tiny BLIP in transformers' format and in LAVIS's own, and how to look through either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ovsslib.vlm.lavis.names import VISION_LAYER_NORM_EPS
from support.helpers import tiny_vocabulary

# Wider than other tests' model: heads are 64 wide in LAVIS's format.
_TEXT, _IMAGE = 64, 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BLIP in transformers' format, with LAVIS's epsilon."""
    from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval

    path = tmp_path_factory.mktemp("tiny-blip-64")
    vocabulary = tiny_vocabulary()
    config = BlipConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": _TEXT,
            "encoder_hidden_size": _IMAGE,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 1,
            "max_position_embeddings": 40,
            "pad_token_id": vocabulary["[PAD]"],
            "bos_token_id": vocabulary["[DEC]"],
        },
        vision_config={
            "hidden_size": _IMAGE,
            "intermediate_size": 80,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 48,
            "patch_size": 8,
            "layer_norm_eps": VISION_LAYER_NORM_EPS,
        },
        image_text_hidden_size=24,
    )
    torch.manual_seed(0)
    model = BlipForImageTextRetrieval(config)
    with torch.no_grad():  # biases and positions start at zero, where wrong names go unseen
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    model.save_pretrained(path)
    tokenizer = BertTokenizer(
        vocab=vocabulary, do_lower_case=True, additional_special_tokens=["[DEC]", "[ENC]"]
    )
    tokenizer.save_pretrained(path)
    return path


def lavis_name(name: str) -> str:
    """The other direction of `lavis_names`, written down anew."""
    for here, there in (
        ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
        ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
        ("vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
        ("vision_model.post_layernorm", "visual_encoder.norm"),
        ("vision_model.encoder.layers", "visual_encoder.blocks"),
        ("self_attn.qkv", "attn.qkv"),
        ("self_attn.projection", "attn.proj"),
        ("layer_norm", "norm"),
    ):
        name = name.replace(here, there)
    return name


@pytest.fixture(scope="module")
def state(folder: Path) -> dict[str, Tensor]:
    """All that a retrieval checkpoint holds: weights, momentum copies, queues."""
    from safetensors.torch import load_file

    weights = {
        lavis_name(name): value for name, value in load_file(folder / "model.safetensors").items()
    }
    copies = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if part != "itm_head":
            copies[f"{part}_m.{rest}"] = torch.zeros_like(value)
    return {
        **weights,
        **copies,
        "temp": torch.tensor(0.07),
        "image_queue": torch.rand(24, 10),
        "text_queue": torch.rand(24, 10),
        "idx_queue": torch.full((1, 10), -100),
        "queue_ptr": torch.zeros(1, dtype=torch.long),
        "text_encoder.embeddings.position_ids": torch.arange(40)[None],
    }


def write(path: Path, state: Any, **more: Any) -> Path:
    """A checkpoint file with BERT's kind of vocabulary beside it."""
    torch.save({"model": state, "epoch": 5, **more}, path)
    write_vocabulary(path.parent)
    return path


def write_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(tiny_vocabulary()) + "\n")


def look(matcher: Any) -> tuple[Tensor, Tensor, list[Any]]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 64, 64, generator=generator)
    texts = [matcher.tokenize(t) for t in ("A picture of cat", "a picture of hotdog, fire hydrant")]
    match = matcher.match(matcher.encode_images(pixels), texts, 2)
    return match.logits, match.attention, texts


def assert_equal(one: Any, two: Any) -> None:
    for a, b in zip(look(one), look(two), strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b
