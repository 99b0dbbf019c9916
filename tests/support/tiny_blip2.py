"""A tiny random BLIP-2 for matching, written by transformers and read back as any checkpoint is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.helpers import random_model, tiny_vocabulary

QUERIES = 5


def make_tokenizer() -> Any:
    """BERT's WordPiece, lower case, with the one token that BLIP-2 adds, ``[DEC]``."""
    from transformers import BertTokenizer

    return BertTokenizer(
        vocab=tiny_vocabulary(), do_lower_case=True, additional_special_tokens=["[DEC]"]
    )


def make_model(*, seed: int = 0, side: int = 32, qformer: dict[str, Any] | None = None) -> Any:
    """`Blip2ForImageTextRetrieval`: 2 image layers, 4 Q-Former layers, every second one crossed."""
    from transformers import Blip2Config, Blip2ForImageTextRetrieval

    config = Blip2Config(
        num_query_tokens=QUERIES,
        image_text_hidden_size=16,
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "patch_size": 8,
            "image_size": side,
        },
        qformer_config={
            "vocab_size": len(tiny_vocabulary()),
            "hidden_size": 32,
            "encoder_hidden_size": 24,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "use_qformer_text_input": True,
            **(qformer or {}),
        },
    )
    return random_model(Blip2ForImageTextRetrieval, config, seed=seed, spread=0.2)


def make_tiny_blip2(folder: Path, *, side: int = 32) -> Path:
    """Write the model with its tokenizer and its processor's settings."""
    from transformers import Blip2Processor, BlipImageProcessor

    make_model(side=side).save_pretrained(folder)
    pictures = BlipImageProcessor(size={"height": side, "width": side})
    Blip2Processor(pictures, make_tokenizer(), num_query_tokens=QUERIES).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_blip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random BLIP-2; import the name into a test file to use it."""
    return make_tiny_blip2(tmp_path_factory.mktemp("tiny-blip2"))
