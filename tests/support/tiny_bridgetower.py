"""A tiny random BridgeTower, written by transformers and read back as any checkpoint is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.helpers import random_model

WORDS = "a picture of cat dog hot dogs traffic light air balloon fire hydrant sky grass"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def make_tokenizer(words: Sequence[str], size: int = 400) -> Any:
    """RoBERTa's byte-level BPE with all 256 bytes, its merges learnt from ``words``."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaTokenizer

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator([" ".join(words)] * 3, trainer)
    learnt = json.loads(learner.to_str())["model"]
    return RobertaTokenizer(vocab=learnt["vocab"], merges=[tuple(m) for m in learnt["merges"]])


def make_model(vocabulary: int, *, seed: int = 0, side: int = 32, **fields: Any) -> Any:
    """`BridgeTowerForImageAndTextRetrieval` with 4 + 4 layers and 3 cross-modal ones."""
    from transformers import BridgeTowerConfig, BridgeTowerForImageAndTextRetrieval

    config = BridgeTowerConfig(
        **{
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "text_config": {
                "vocab_size": vocabulary,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "max_position_embeddings": 66,
            },
            "vision_config": {
                "hidden_size": 128,
                "num_hidden_layers": 4,
                "patch_size": 8,
                "image_size": side,
            },
            **fields,
        }
    )
    return random_model(BridgeTowerForImageAndTextRetrieval, config, seed=seed, spread=0.1)


def make_tiny_bridgetower(folder: Path, *, side: int = 32) -> Path:
    """Write the model with its tokenizer and its processor's settings."""
    from transformers import BridgeTowerImageProcessor, BridgeTowerProcessor

    tokenizer = make_tokenizer(WORDS.split())
    make_model(len(tokenizer), side=side).save_pretrained(folder)
    pictures = BridgeTowerImageProcessor(
        size={"shortest_edge": side}, crop_size={"shortest_edge": side}, size_divisor=8
    )
    BridgeTowerProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bridgetower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random BridgeTower; import the name into a test file to use it."""
    return make_tiny_bridgetower(tmp_path_factory.mktemp("tiny-bridgetower"))
