"""Rewards from stored maps against rerunning the pipeline, and what an objective asks for."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters.base import Oracle
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import preset
from ovsslib.pnp.refine import refine_maps
from ovsslib.protocols.protocol import get_protocol
from ovsslib.tuning.candidates import Candidate, masks_of
from ovsslib.tuning.collect import Images, LayerMaps, collect
from ovsslib.tuning.objective import Objective
from ovsslib.tuning.reward import Reward, RewardOptions
from ovsslib.vlm import load_vlm

BASE = PnPConfig(max_side=None)

COUNT = 4
CANDIDATES = [
    Candidate(layer, head, threshold, blur)
    for (layer, head), (threshold, blur) in itertools.product(
        [(2, None), (1, 3), (4, 2), (2, 1)], [(0.05, 0.03), (0.35, 0.03), (0.15, 0.11)]
    )
]


@pytest.fixture(scope="module")
def matcher() -> Any:
    return load_vlm("micro-blip", "cpu")


@pytest.fixture(scope="module")
def data() -> Any:
    return load_dataset("diorama", split="val")


@pytest.fixture(scope="module")
def store(matcher: Any, data: Any) -> LayerMaps:
    protocol = get_protocol("pnp-fixed").resolved("diorama")
    return collect(matcher, Images(data, protocol, Oracle(), COUNT), preset("micro-blip"))


@pytest.fixture(scope="module", params=["hard", "soft"])
def objective(request: pytest.FixtureRequest, data: Any, store: LayerMaps) -> Objective:
    reward = Reward(data.classes, RewardOptions(mask=request.param), device="cpu")
    return Objective(store, reward, data, preset("micro-blip"))


def test_rewards_are_those_of_the_pipeline(
    objective: Objective, matcher: Any, data: Any, store: LayerMaps
) -> None:
    """Each candidate by a pass of its own, refined at the reward's size."""
    found = objective.per_image(CANDIDATES)
    assert found.shape == (len(CANDIDATES), COUNT)
    reward, base = objective.reward, preset("micro-blip")
    pictures = [data.image(name) for name in store.ids]
    hard = reward.options.mask == "hard"
    for row, one in zip(found, CANDIDATES, strict=True):
        wanted = []
        for index, maps in enumerate(
            PnPOVSS(matcher, one.config(base)).maps(pictures, store.classes)
        ):
            square = np.zeros((reward.size, reward.size, 3), np.uint8)
            seen = refine_maps(dataclasses.replace(maps, image=square), one.config(base))
            kinds = np.arange(len(seen.classes))[:, None, None]
            given = (seen.labels == kinds) if hard else seen.planes
            pixels = reward.prepare(pictures[index])
            wanted.append(reward.wins(pixels, given[None], store.labels[index]).sum())
        # A mask at the edge of a win may differ by the rounding of the maps.
        assert np.abs(row - wanted).sum() <= 1
    assert len(set(found.sum(1))) > 1


def test_order_and_grouping_do_not_matter(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = objective.per_image(CANDIDATES)
    order = np.random.default_rng(0).permutation(len(CANDIDATES))
    monkeypatch.setattr("ovsslib.tuning.objective._MASK_BYTES", 0)  # one at a time
    again = objective.per_image([CANDIDATES[i] for i in order], [2, 0])
    np.testing.assert_array_equal(again, whole[order][:, [2, 0]])


def test_the_mean_over_classes(objective: Objective, store: LayerMaps) -> None:
    one = CANDIDATES[0]
    counts = [len(labels) for labels in store.labels]
    rewards = objective.per_image([one])[0]
    (value,) = objective.values([one])
    assert value == rewards.sum() / sum(counts)
    assert objective.pairs == counts
    assert 0 < value <= 1
    np.testing.assert_array_equal(objective.values([one, one]), [value] * 2)


def test_prepared_images_are_kept_within_a_bound(
    data: Any, store: LayerMaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = Reward(data.classes, device="cpu")
    prepared: list[Any] = []
    original = reward.prepare

    def prepare(image: Image.Image) -> torch.Tensor:
        prepared.append(image)
        return original(image)

    reward.prepare = prepare  # type: ignore[method-assign]
    size = 3 * 4 * reward.size**2
    for bound, times in ((10 * size, COUNT), (2 * size, 2 * COUNT - 2), (0, 2 * COUNT)):
        prepared.clear()
        monkeypatch.setattr("ovsslib.tuning.objective._CACHE_BYTES", bound)
        objective = Objective(store, reward, data, preset("micro-blip"))
        first, again = (objective.values(CANDIDATES[:1]) for _ in range(2))
        assert first == again
        assert len(prepared) == times


class Recorder:
    """A reward that keeps what it is given."""

    size = 24
    options = RewardOptions()

    def __init__(self) -> None:
        self.given: list[tuple[np.ndarray, list[int]]] = []

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return torch.zeros(3, self.size, self.size)

    def wins_by_scope(
        self, pixels: torch.Tensor, masks: torch.Tensor, labels: list[int], scopes: list[str]
    ) -> np.ndarray:
        assert scopes == ["dataset"]
        self.given.append((masks.numpy(), labels))
        return np.ones((1, len(masks), len(labels)), bool)


MAPS = np.random.default_rng(3).random((4, 7, 7), np.float32)


class Names:
    """A store of one image with several names of a class, and one of the background."""

    ids = ("one", "two")
    labels = ((0, 3, 3, 1), ())

    def __len__(self) -> int:
        return 2

    def maps(self, image: int, layer: int, head: int | None) -> np.ndarray:
        return MAPS


class Blank:
    """A data set of one blank image."""

    def image(self, name: str) -> Image.Image:
        return Image.new("RGB", (24, 24))


class Nothing(Names):
    """A store of images without a class."""

    labels = ((0,), ())


def test_without_a_class_there_is_no_value() -> None:
    objective = Objective(Nothing(), Recorder(), Blank(), BASE)  # type: ignore[arg-type]
    with pytest.raises(OvssError, match="no image has a class"):
        objective.values(CANDIDATES)


def test_names_of_a_class_are_one_mask_and_background_is_none() -> None:
    reward, one = Recorder(), Candidate(1, 1, 0.15, 0.05)
    objective = Objective(Names(), reward, Blank(), BASE)  # type: ignore[arg-type]
    found = objective.per_image([one])
    assert found.tolist() == [[2, 0]]
    ((given, labels),) = reward.given
    plain = masks_of(MAPS, [one], 24, "always", BASE)[0].numpy()
    assert labels == [3, 1]
    np.testing.assert_array_equal(given[0], [plain[1] + plain[2], plain[3]])
    assert objective.values([one]).tolist() == [1]


def test_several_scopes_at_once_are_each_alone(data: Any, store: LayerMaps) -> None:
    base, scopes = preset("micro-blip"), ["dataset", "image"]
    rewards = [Reward(data.classes, RewardOptions(scope=s), device="cpu") for s in scopes]
    both = Objective(store, rewards[0], data, base).by_scope(CANDIDATES, 1, scopes)
    for row, reward in zip(both, rewards, strict=True):
        alone = Objective(store, reward, data, base).per_image(CANDIDATES, [1])[:, 0]
        np.testing.assert_array_equal(row, alone)
    assert len({row.tobytes() for row in both}) == 2
