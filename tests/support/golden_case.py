"""The golden case (tests/golden/released_code): its files, and the model that it describes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers.implementations import BertWordPieceTokenizer

from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.lavis.names import VISION_LAYER_NORM_EPS, rename_state
from support.helpers import ROOT

FOLDER = ROOT / "tests" / "golden" / "released_code"
# Reading here makes a missing file an error of collection, never a skip.
CASE = json.loads((FOLDER / "case.json").read_text())
EXPECTED = load_file(FOLDER / "expected.safetensors")
WEIGHTS = load_file(FOLDER / "weights_lavis_names.safetensors")
IMAGES = range(len(CASE["cases"]))
# Dropped by the released code before each round, as our float64 run reproduces it. Which patches
# without salience fill up a round is up to the processor (numpy's argsort), hence the record.
MASKS = json.loads((FOLDER.parent / "dropped.json").read_text())


def make_model(dtype: torch.dtype) -> Any:
    """transformers' own class with the golden weights."""
    from transformers import BlipConfig, BlipForImageTextRetrieval

    text, vision = CASE["text"], CASE["vision"]
    config = BlipConfig(
        text_config={
            "vocab_size": text["vocab"],
            "hidden_size": text["width"],
            "encoder_hidden_size": vision["width"],
            "intermediate_size": 4 * text["width"],
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text["max_positions"],
            "layer_norm_eps": text["layer_norm_eps"],
            "bos_token_id": CASE["enc_token_id"] - 1,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": vision["width"],
            "intermediate_size": 4 * vision["width"],
            "num_hidden_layers": vision["depth"],
            "num_attention_heads": vision["heads"],
            "image_size": CASE["image_size"],
            "patch_size": CASE["patch"],
            "layer_norm_eps": VISION_LAYER_NORM_EPS,
        },
        image_text_hidden_size=64,
    )
    model = BlipForImageTextRetrieval(config).eval()
    model.load_state_dict(rename_state(WEIGHTS))
    return model.to(dtype)


def make_matcher(dtype: torch.dtype = torch.float64) -> BlipMatcher:
    """The library's matcher with the golden weights and vocabulary."""
    words = [*(FOLDER / "vocab.txt").read_text().split(), "[DEC]", "[ENC]"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return BlipMatcher(make_model(dtype), BertWordPieceTokenizer(vocabulary)._tokenizer)


def as_mask(patches: list[int]) -> np.ndarray:
    """Patch numbers as (P,) bool."""
    mask = np.zeros((CASE["image_size"] // CASE["patch"]) ** 2, bool)
    mask[patches] = True
    return mask


def flat(name: str, image: int) -> np.ndarray:
    """Expected maps of an image as (K, P)."""
    maps = EXPECTED[f"{name}_{image}"].numpy()
    return maps.reshape(len(maps), -1)
