"""Drawn images for training, and the held-out figures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.miniature.diorama.classes import CLASSES
from ovsslib.miniature.training import cache as data
from ovsslib.miniature.training.heldout import hard_negatives, match_accuracy, retrieval_at_1
from ovsslib.miniature.training.wordpiece import named


def test_cache_holds_pictures_and_captions_only(drawn):
    for path in drawn.glob("*.npz"):
        with np.load(path) as shard:
            assert sorted(shard.files) == ["captions", "pictures"]
            assert shard["pictures"].shape == (24, 128, 128, 3)
            assert all(isinstance(c, str) for cs in json.loads(str(shard["captions"])) for c in cs)


def test_damaged_and_missing_shards_are_named(drawn, tmp_path):
    with pytest.raises(OvssError, match="cannot read train-c2-v2-s0-128px-000000-000099"):
        data.load(drawn, "train", 99, 32)
    with pytest.raises(OvssError, match="side 500"):
        data.load(drawn, "train", 24, 500)
    assert data.load(drawn, "train", 24, 32).pictures.shape == (24, 32, 32, 3)


def test_figures_of_perfect_blind_and_inverted_scorers():
    rng = np.random.default_rng(0)
    captions = [[f"a {c}", f"a red {c}"] for c in CLASSES]
    _, texts, truth = hard_negatives(captions)
    known = dict(zip(texts, truth, strict=True))

    def perfect(numbers, texts):
        return np.array(
            [1.0 if CLASSES[n] in named([t]) else -1.0 for n, t in zip(numbers, texts, strict=True)]
        )

    assert len(known) >= 30
    assert match_accuracy(perfect, captions) == {"match_accuracy": 1.0, "pairs_ranked": 1.0}
    assert retrieval_at_1(perfect, captions) == {"picture_at_1": 1.0, "caption_at_1": 1.0}
    inverted = match_accuracy(lambda n, t: -perfect(n, t), captions)
    assert inverted == {"match_accuracy": 0.0, "pairs_ranked": 0.0}
    blind = match_accuracy(lambda n, t: rng.normal(size=len(t)), captions * 20)
    assert abs(blind["match_accuracy"] - 0.5) < 0.1
