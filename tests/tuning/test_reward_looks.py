"""Which masked images CLIP is shown, and in which precision: no more than are needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.datasets import load_dataset
from ovsslib.filters.captions import image_labels
from ovsslib.tuning.clip_encoder import fast_bfloat16
from ovsslib.tuning.reward import Reward, token_contrast
from ovsslib.tuning.reward_options import RewardOptions
from tuning.test_reward import SIDE, blobs


@pytest.fixture(scope="module")
def data():
    return load_dataset("diorama", split="tune")


@pytest.fixture(scope="module")
def reward(data):
    return Reward(data.classes)


def count_looks(reward: Reward, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that CLIP's image encoder gets from here on, second looks apart."""
    sizes: list[int] = []
    encode = reward._quick

    def counted(pictures: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pictures))
        return encode(pictures)

    monkeypatch.setattr(reward, "_quick", counted)
    return sizes


@pytest.mark.skipif(not fast_bfloat16(), reason="this processor has no products in bfloat16")
def test_close_calls_in_bfloat16_are_looked_at_again(data, reward, monkeypatch) -> None:
    exact = Reward(data.classes, RewardOptions(scope="image"))
    exact._quick = exact._tower
    quick = Reward(data.classes, RewardOptions(scope="image"))
    assert quick._quick is not quick._tower
    second: list[int] = []
    encode = quick._tower

    def counted(pictures: torch.Tensor) -> torch.Tensor:
        second.append(len(pictures))
        return encode(pictures)

    monkeypatch.setattr(quick, "_tower", counted)
    rng, looks = np.random.default_rng(5), 0
    for name in data.ids[:6]:
        labels = image_labels(data, name)
        pixels, masks = exact.prepare(data.image(name)), blobs(rng, (12, len(labels)))
        wins = quick.wins(pixels, masks, labels)
        np.testing.assert_array_equal(wins, exact.wins(pixels, masks, labels))
        looks += wins.size
    assert 0 < sum(second) < looks / 2
    second.clear()
    assert not quick.wins(pixels, masks[:, :1], labels[:1]).any(), "alone it has probability 1"
    assert second == []


def test_equal_masks_are_looked_at_once_and_batches_change_nothing(
    data, reward, monkeypatch
) -> None:
    name = data.ids[1]
    labels = image_labels(data, name)
    pixels = reward.prepare(data.image(name))
    some = blobs(np.random.default_rng(1), (5, len(labels)))
    some[4] = some[1]
    some[2, 1] = some[0, 0]  # of another class
    some[3, 0] = 0.4  # nothing, once it is cut at 0.5
    one_by_one = np.concatenate([reward.wins(pixels, mask[None], labels) for mask in some])
    sizes = count_looks(reward, monkeypatch)
    assert np.array_equal(reward.wins(pixels, some, labels), one_by_one)
    distinct = 4 * len(labels) - 2
    assert sum(sizes) == distinct
    assert max(sizes) <= reward.batch == 16
    for batch in (1, 3, 64):
        other = Reward(data.classes, batch=batch)
        sizes = count_looks(other, monkeypatch)
        assert np.array_equal(other.wins(pixels, torch.as_tensor(some), labels), one_by_one)
        assert max(sizes) == min(batch, distinct)
        assert sum(sizes) == distinct
    assert np.array_equal(reward.wins(pixels, some >= 0.5, labels), one_by_one)


def test_what_shows_nothing_costs_nothing_and_wins_nothing(data, reward, monkeypatch) -> None:
    pixels = reward.prepare(data.image(data.ids[0]))
    sizes = count_looks(reward, monkeypatch)
    nothing = np.zeros((2, 3, SIDE, SIDE), bool)
    assert not reward.wins(pixels, nothing, [1, 2, 3]).any()
    black = reward.prepare(Image.new("RGB", (50, 30)))
    assert not reward.wins(black, ~nothing, [1, 2, 3]).any()
    assert reward.score(pixels, np.zeros((2, 0, SIDE, SIDE)), []).tolist() == [0, 0]
    assert reward.wins(pixels, nothing[:0], [1, 2, 3]).shape == (0, 3)
    assert reward.score(pixels, nothing[:0], [1, 2, 3]).shape == (0,)
    assert token_contrast(torch.zeros(0, 3, SIDE, SIDE)).shape == (0,)
    assert sizes == []
