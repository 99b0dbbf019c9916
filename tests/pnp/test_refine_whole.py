"""Refinement as a whole: labels, stages, large images, worker processes."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.refine import refine_maps, shrink
from ovsslib.pnp.result import Maps
from pnp.test_refine import make_maps, picture


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("rule", ["always", "few", "never"])
def test_permuting_the_maps_permutes_the_labels(crf: bool, rule: str) -> None:
    config = PnPConfig(crf=crf, background=rule)  # type: ignore[arg-type]
    maps = make_maps(4, (30, 40))
    order = [2, 0, 3, 1]
    other = Maps(maps.maps[order], tuple(maps.classes[i] for i in order), 0.5, maps.image)
    one, two = refine_maps(maps, config), refine_maps(other, config)
    assert len(np.unique(one.labels)) > 3
    named = np.array([*one.classes, "-"])[one.labels]
    assert (named == np.array([*two.classes, "-"])[two.labels]).mean() > 0.999
    assert np.allclose(one.planes[order], two.planes, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (30, 41)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_size_and_count(size: tuple[int, int], count: int) -> None:
    result = refine_maps(make_maps(count, size), PnPConfig())
    assert result.labels.shape == size
    assert result.labels.dtype == np.int16
    assert result.planes.shape == (count, *size)
    assert result.planes.dtype == np.float32
    assert np.isfinite(result.planes).all()
    assert set(np.unique(result.labels)) <= set(range(-1, count))
    assert len(result.scores) == count


def test_sixty_classes() -> None:
    result = refine_maps(make_maps(60, (24, 32)), PnPConfig())
    assert result.planes.shape == (60, 24, 32)
    assert result.labels.max() > 10


def test_no_class_is_all_background() -> None:
    maps = Maps(np.zeros((0, 0, 0), np.float32), (), 0.0, picture(5, 6))
    result = refine_maps(maps, PnPConfig())
    assert (result.labels == -1).all()
    assert result.planes.shape == (0, 5, 6)
    assert result.scores == ()


@pytest.mark.parametrize("rule", ["always", "never"])
@pytest.mark.parametrize("crf", [True, False])
def test_no_salience_is_all_background(rule: str, crf: bool) -> None:
    maps = Maps(np.zeros((3, 6, 6), np.float32), ("a", "b", "c"), 0.0, picture(20, 30))
    config = PnPConfig(crf=crf, background=rule)  # type: ignore[arg-type]
    assert (refine_maps(maps, config).labels == -1).all()


def test_unclaimed_pixels_without_blur_or_background() -> None:
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 0, 0] = 1
    config = PnPConfig(crf=False, blur=0, background="never")
    result = refine_maps(Maps(maps, ("a",), 0.0, picture(40, 40)), config)
    assert (result.labels[:5, :5] == 0).all()
    assert (result.labels[20:] == -1).all()


def test_released_nan_swallows_the_image() -> None:
    maps = np.zeros((2, 6, 6), np.float32)
    maps[1, 1:, 1:] = 1
    given_maps = Maps(maps, ("a", "b"), 0.0, picture(20, 30))
    released = refine_maps(given_maps, PnPConfig(constant_planes="nan"))
    mended = refine_maps(given_maps, PnPConfig())
    assert set(np.unique(released.labels)) == {-1}
    assert (mended.labels == 1).any()


def test_stages_on_request_only() -> None:
    assert refine_maps(make_maps(2, (20, 30)), PnPConfig()).stages is None
    maps = make_maps(2, (20, 30), stages=True)
    result = refine_maps(maps, PnPConfig())
    assert result.stages is not None
    shapes = {name: array.shape for name, array in result.stages.items()}
    full = (3, 20, 30)
    assert shapes == {"thresholded": (2, 6, 6), "planes": full, "blurred": full, "crf": full}
    assert maps.stages == {}
    bare = refine_maps(maps, PnPConfig(blur=0, crf=False, normalise=False)).stages
    assert bare is not None
    assert set(bare) == {"thresholded", "planes"}


def test_without_blur_planes_are_still_normalised() -> None:
    """A class with ten times the salience of another must not win by scale alone."""
    weak = np.zeros((1, 6, 6), np.float32)
    weak[0, :, :3] = np.linspace(0.5, 1, 6)[:, None]
    strong = np.full((1, 6, 6), 4, np.float32) + np.arange(6, dtype=np.float32)
    maps = Maps(np.concatenate([weak, strong]), ("a", "b"), 1.0, np.zeros((12, 12, 3), np.uint8))
    plain = PnPConfig(blur=0, crf=False, background="never", threshold=0.0)
    assert set(np.unique(refine_maps(maps, plain.replace(normalise=False)).labels)) == {1}
    assert set(np.unique(refine_maps(maps, plain).labels)) == {0, 1}


def test_large_pictures_are_refined_smaller() -> None:
    maps = make_maps(3, (90, 160))
    # Without the CRF, whose kernels are measured in pixels.
    small = refine_maps(maps, PnPConfig(max_side=80, crf=False))
    large = refine_maps(maps, PnPConfig(max_side=None, crf=False))
    assert small.labels.shape == large.labels.shape == (90, 160)
    assert small.planes.shape == (3, 45, 80)
    assert (small.labels == large.labels).mean() > 0.97
    assert len(small.scores) == 3


def test_shrink() -> None:
    image = picture(90, 160)
    assert shrink(image, None) is image
    assert shrink(image, 160) is image
    assert shrink(image, 40).shape == (22, 40, 3)
    assert shrink(picture(1, 900), 30).shape == (1, 30, 3)


def test_picklable_for_workers() -> None:
    job = pickle.loads(pickle.dumps((refine_maps, make_maps(2, (20, 30)), PnPConfig())))
    again = pickle.loads(pickle.dumps(job[0](*job[1:])))
    assert (again.labels == refine_maps(make_maps(2, (20, 30)), PnPConfig()).labels).all()


def test_workers_need_no_torch() -> None:
    code = "import sys, ovsslib.pnp.refine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_refinement_leaves_its_input_alone() -> None:
    maps = make_maps(3, (20, 30))
    before = maps.maps.copy(), maps.image.copy()
    refine_maps(maps, PnPConfig())
    assert (maps.maps == before[0]).all()
    assert (maps.image == before[1]).all()
