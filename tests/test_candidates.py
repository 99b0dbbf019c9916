"""Masks from stored maps against the refinement, and rewards against rerunning the pipeline."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.candidates import Candidate, Objective, masks, masks_of
from ovsslib.config import PnPConfig, preset
from ovsslib.errors import OvssError
from ovsslib.layer_maps import LayerMaps, collect
from ovsslib.pnp import PnPOVSS
from ovsslib.refine import refine_maps
from ovsslib.reward import Reward, RewardOptions
from ovsslib.segmentation import Maps
from ovsslib.tasks import Task, task
from ovsslib.vlm import load_vlm

BASE = PnPConfig(max_side=None)
THRESHOLDS, BLURS = (0.0, 0.05, 0.15, 0.45, 1.0), (0.0, 0.01, 0.05, 0.11, 0.4)


def some_maps(classes: int, grid: int = 7, seed: int = 0) -> np.ndarray:
    """Smooth maps with zeros, of different strength."""
    rng = np.random.default_rng(seed)
    maps = np.maximum(rng.normal(size=(classes, grid, grid)), 0) ** 2
    return (maps * 10.0 ** rng.uniform(-4, 0, (classes, 1, 1))).astype(np.float32)


def refined(maps: np.ndarray, one: Candidate, size: int, config: PnPConfig) -> Any:
    names = tuple(f"class {number}" for number in range(len(maps)))
    picture = np.zeros((size, size, 3), np.uint8)
    return refine_maps(Maps(maps, names, 0.5, picture, {}), one.config(config))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"background": "never"},
        {"background": "few", "align_corners": True},
        {"normalise": False},
        {"constant_planes": "nan"},
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("size", [24, 97])
def test_equals_refinement(size: int, classes: int, fields: dict[str, Any]) -> None:
    config = BASE.replace(**fields)
    pairs = list(itertools.product(THRESHOLDS, BLURS))
    candidates = [Candidate(1, 1, level, blur) for level, blur in pairs]
    differ = 0.0
    for seed in range(3):
        maps = some_maps(classes, seed=seed)
        if seed == 2:
            maps[0] = 0  # no contrast
        before = maps.copy()
        hard = masks_of(maps, candidates, size, config.background, config)
        soft = masks_of(maps, candidates, size, config.background, config, hard=False)
        np.testing.assert_array_equal(maps, before)
        assert hard.shape == soft.shape == (len(pairs), classes, size, size)
        assert hard.dtype == soft.dtype == torch.float32
        for one, mask, plane in zip(candidates, hard.numpy(), soft.numpy(), strict=True):
            wanted = refined(maps, one, size, config)
            expected = wanted.labels == np.arange(classes)[:, None, None]
            other = (mask != expected).any(0)
            # Labels may differ only where rounding decides between two planes.
            assert wanted.stages is not None
            planes = wanted.stages["blurred" if one.blur or config.normalise else "planes"]
            second, first = np.sort(np.concatenate([planes, 0 * planes[:1] - 1]), axis=0)[-2:]
            assert (first - second)[other].max(initial=0) < 1e-5, one
            # Single patches, or no blur at all, make ties by symmetry.
            differ += other.mean() / len(candidates) / 3 if one.threshold < 1 and one.blur else 0
            np.testing.assert_allclose(plane, wanted.planes, atol=2e-5, rtol=1e-4)
    assert differ < 1e-3


def test_one_is_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = some_maps(3)
    candidates = [Candidate(1, 1, *pair) for pair in itertools.product(THRESHOLDS, BLURS)]
    # In any order, and repeated.
    candidates = [candidates[i] for i in np.random.default_rng(1).permutation(25)] + candidates[:2]
    many = masks_of(maps, candidates, 48, "always", BASE)
    for one, found in zip(candidates, many, strict=True):
        torch.testing.assert_close(masks(maps, one, 48, "always", BASE), found, rtol=0, atol=0)
    assert len({found.numpy().tobytes() for found in many}) > 15


def test_hard_masks_share_out_the_picture() -> None:
    found = masks(some_maps(4), Candidate(1, 1, 0.15, 0.05), 40, "never", BASE)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert (found.sum(0) <= 1).all()
    assert masks_of(np.zeros((0, 7, 7)), [Candidate(1, 1, 0.1, 0.1)], 8, "always", BASE).shape == (
        1,
        0,
        8,
        8,
    )
    assert masks_of(some_maps(2), [], 8, "always", BASE).shape == (0, 2, 8, 8)


def test_a_candidate_is_a_configuration() -> None:
    found = Candidate(3, None, 0.25, 0.07).config(preset("blip", background="few"))
    changed = {"layer": 3, "head": None, "threshold": 0.25, "blur": 0.07, "rounds": 1, "crf": False}
    assert found == preset("blip", background="few", **changed)
    with pytest.raises(OvssError, match="threshold"):
        Candidate(3, None, 1.25, 0.07).config(BASE)


PICTURES = 4
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
def work() -> Task:
    return task("diorama", split="val", limit=PICTURES)


@pytest.fixture(scope="module")
def store(matcher: Any, work: Task) -> LayerMaps:
    return collect(matcher, work, preset("micro-blip"))


@pytest.fixture(scope="module", params=["hard", "soft"])
def objective(request: pytest.FixtureRequest, work: Task, store: LayerMaps) -> Objective:
    reward = Reward(work.dataset.classes, RewardOptions(mask=request.param), device="cpu")
    return Objective(store, reward, work, preset("micro-blip"))


def test_rewards_are_those_of_the_pipeline(
    objective: Objective, matcher: Any, work: Task, store: LayerMaps
) -> None:
    """Each candidate by a pass of its own, refined at the reward's size."""
    found = objective.per_image(CANDIDATES)
    assert found.shape == (len(CANDIDATES), PICTURES)
    reward, base = objective.reward, preset("micro-blip")
    pictures = [work.dataset.image(name) for name in work.ids]
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
            wanted.append(reward.score(pixels, given[None], store.labels[index])[0])
        # A mask at the edge of a win may differ by the rounding of the maps.
        assert np.abs(row - wanted).sum() <= 1
    assert len(set(found.sum(1))) > 1


def test_order_and_grouping_do_not_matter(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = objective.per_image(CANDIDATES)
    order = np.random.default_rng(0).permutation(len(CANDIDATES))
    monkeypatch.setattr("ovsslib.candidates._MASK_BYTES", 0)  # one at a time
    again = objective.per_image([CANDIDATES[i] for i in order], [2, 0])
    np.testing.assert_array_equal(again, whole[order][:, [2, 0]])


def test_the_mean_over_classes(objective: Objective, store: LayerMaps) -> None:
    one = CANDIDATES[0]
    counts = [len(labels) for labels in store.labels]
    rewards = objective.per_image([one])[0]
    assert objective(one) == rewards.sum() / sum(counts)
    assert objective(one, [1, 3]) == rewards[[1, 3]].sum() / (counts[1] + counts[3])
    assert 0 < objective(one) <= 1
    np.testing.assert_array_equal(objective.values([one, one]), [objective(one)] * 2)
    with pytest.raises(OvssError, match="no picture has a class"):
        objective(one, [])


def test_prepared_pictures_are_kept_within_a_bound(work: Task, store: LayerMaps) -> None:
    reward = Reward(work.dataset.classes, device="cpu")
    prepared: list[Any] = []
    original = reward.prepare

    def prepare(image: Image.Image) -> torch.Tensor:
        prepared.append(image)
        return original(image)

    reward.prepare = prepare  # type: ignore[method-assign]
    size = 3 * 4 * reward.size**2
    for bound, times in ((10 * size, PICTURES), (2 * size, 2 * PICTURES - 2), (0, 2 * PICTURES)):
        prepared.clear()
        objective = Objective(store, reward, work, preset("micro-blip"), cache_bytes=bound)
        assert objective(CANDIDATES[0]) == objective(CANDIDATES[0])
        assert len(prepared) == times


class Recorder:
    """A reward that keeps what it is given."""

    size = 24
    options = RewardOptions()

    def __init__(self) -> None:
        self.given: list[tuple[np.ndarray, list[int]]] = []

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return torch.zeros(3, self.size, self.size)

    def score(self, pixels: torch.Tensor, masks: torch.Tensor, labels: list[int]) -> np.ndarray:
        self.given.append((masks.numpy(), labels))
        return np.ones(len(masks))


class Names:
    """A store of one picture with several names of a class, and one of the background."""

    ids = ("one", "two")
    labels = ((0, 3, 3, 1), ())

    def __len__(self) -> int:
        return 2

    def maps(self, image: int, layer: int, head: int | None) -> np.ndarray:
        return some_maps(4, seed=3)


def test_names_of_a_class_are_one_mask_and_background_is_none(work: Task) -> None:
    reward, one = Recorder(), Candidate(1, 1, 0.15, 0.05)
    objective = Objective(Names(), reward, work, BASE)  # type: ignore[arg-type]
    objective._pixels = {0: torch.zeros(3, 24, 24)}
    found = objective.per_image([one])
    assert found.tolist() == [[1, 0]]
    ((given, labels),) = reward.given
    plain = masks(some_maps(4, seed=3), one, 24, "always", BASE).numpy()
    assert labels == [3, 1]
    np.testing.assert_array_equal(given[0], [plain[1] + plain[2], plain[3]])
    assert objective(one) == 0.5
