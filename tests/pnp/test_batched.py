"""Refinement of a batch in PyTorch against refinement of single images with pydensecrf."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ovsslib.errors import OvssError
from ovsslib.pnp import batched, planes
from ovsslib.pnp.batched import labels_of, refine_batch
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps, unlabelled

CLASSES = (1, 0, 4, 20, 2)
"""Of each image of the batch."""


@pytest.fixture(scope="module")
def batch(diorama_pictures: tuple[list[Any], Any]) -> list[Maps]:
    """Images of Diorama, cut to different sizes, with stages."""
    out = []
    for seed, (count, picture) in enumerate(zip(CLASSES, diorama_pictures[0], strict=False)):
        image = np.asarray(picture)[: 90 - 7 * seed, : 60 + 13 * seed]
        maps = np.random.default_rng(seed).random((count, 6, 6)).astype(np.float32) ** 4
        names = tuple(f"class {index}" for index in range(count))
        out.append(Maps(maps, names, 0.1 * seed, image, {"sum": maps}))
    assert len({maps.image.shape for maps in out}) == len(CLASSES)
    return out


def same(one: Any, two: Any) -> None:
    """As far as the page on the CRF says: rounding may be enlarged at single pixels."""
    assert one.labels.dtype == two.labels.dtype == np.int16
    assert (one.labels == two.labels).mean() >= 0.9995
    assert one.planes.shape == two.planes.shape
    assert one.planes.dtype == two.planes.dtype == np.float32
    off = np.abs(one.planes - two.planes)
    assert np.array_equal(np.isnan(one.planes), np.isnan(two.planes))
    assert (off > 1e-4).sum() <= 5e-4 * off.size
    assert np.nanmax(off, initial=0) < 0.01
    assert (one.classes, one.match) == (two.classes, two.match)
    assert one.image is two.image
    assert one.scores == pytest.approx(two.scores, abs=1e-3, nan_ok=True)


FIELDS = [
    {},
    {"background": "never"},
    {"background": "few", "align_corners": True},
    {"crf": False},
    {"crf": False, "blur": 0.0, "normalise": False},
    {"blur": 0.0},
    {"pamr": 2, "pamr_dilations": (1, 4)},
    {"constant_planes": "nan"},
    {"max_side": 40},
]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_equals_single_images_with_pydensecrf(batch: list[Maps], fields: dict[str, Any]) -> None:
    config = PnPConfig(**fields)
    before = [(maps.maps.copy(), maps.image.copy()) for maps in batch]
    found = refine_batch(batch, config.replace(crf_backend="torch"), together=True)
    for maps, (given, image) in zip(batch, before, strict=True):
        assert np.array_equal(maps.maps, given)
        assert np.array_equal(maps.image, image)
    for maps, one in zip(batch, found, strict=True):
        two = refine_maps(maps, config)
        same(one, two)
        assert list(one.stages or ()) == list(two.stages or ())
        for name, stage in (two.stages or {}).items():
            mine = (one.stages or {})[name]
            assert (mine.shape, mine.dtype) == (stage.shape, stage.dtype)
            if name not in ("crf", "pamr"):
                np.testing.assert_allclose(mine, stage, atol=2e-5)


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_whatever_the_batch(
    batch: list[Maps], fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PnPConfig(crf_backend="torch", **fields)
    alone = [refine_maps(maps, config) for maps in batch]
    apart = refine_batch(batch, config)
    at_once = refine_batch(batch[::-1], config, together=True)[::-1]
    monkeypatch.setattr(batched, "TOGETHER", 60 * 90 * 6)
    in_parts = refine_batch(batch, config, together=True)
    labels = labels_of(batch, config, together=True)
    for one, *others, drawn in zip(alone, apart, at_once, in_parts, labels, strict=True):
        for two in others:
            same(one, two)
        assert drawn.dtype == np.int16
        assert (one.labels == drawn).mean() >= 0.9995


def test_groups_hold_neighbours_up_to_a_number_of_values(batch: list[Maps]) -> None:
    def sizes(most: int) -> list[int]:
        return [len(group) for group in batched._groups(batch, most)]

    assert sizes(0) == [1] * 5
    assert sizes(10**9) == [5]
    two = 2 * sum(maps.labels.size for maps in map(unlabelled, batch[:2]))
    assert sizes(two) == [2, 1, 1, 1]
    assert sizes(two - 1) == [1, 1, 1, 1, 1]
    assert list(batched._groups([], 10)) == []


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_a_gpu_is_not_waited_for(batch: list[Maps], fields: dict[str, Any]) -> None:
    """On one that computes nothing: whatever asks for a value raises an error."""
    cuda = torch.device("cuda")
    config = PnPConfig(crf_backend="torch", **fields)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            for maps in batch:
                if maps.classes:
                    image = batched._planes(maps, config, cuda)
                    assert image.planes.device.type == "cuda"
                    assert image.labels(maps.image.shape[:2]).shape == maps.image.shape[:2]
            with pytest.raises(DataDependentOutputException):
                image.planes.max().item()
    finally:
        planes._weights.cache_clear()
        planes._smoothing.cache_clear()


def test_what_the_crf_refuses_is_one_line(batch: list[Maps]) -> None:
    config = PnPConfig(crf_backend="torch", crf_bilateral_sxy=1e-3, crf_bilateral_srgb=1e-3)
    with pytest.raises(OvssError, match="the dense CRF: standard deviations are too small"):
        refine_batch(batch, config, together=True)


def test_labels_of_large_images(batch: list[Maps]) -> None:
    """Enlarged by PyTorch, as by Pillow."""
    image = np.asarray(Image.fromarray(batch[2].image).resize((331, 207)))
    large = Maps(batch[2].maps, batch[2].classes, 0.5, image)
    for fields in ({}, {"background": "never", "threshold": 0.6, "blur": 0.0, "crf": False}):
        config = PnPConfig(max_side=90, **fields)
        one = refine_maps(large, config)
        (two,) = refine_batch([large], config)
        assert one.labels.shape == (207, 331)
        assert (one.labels == two.labels).mean() > 0.999
        assert len(np.unique(one.labels)) > 2
    assert (two.labels == -1).any()
