"""Threshold, background, blur, CRF, labels; refinement as a whole."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pamr import pamr
from ovsslib.pnp.refine import (
    add_background,
    agreed,
    blur,
    decide,
    dense_crf,
    peak_scores,
    refine_maps,
    softmax,
)
from ovsslib.pnp.result import Maps

BACKENDS = ("pydensecrf", "torch")


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth image; noise would fill the CRF's lattice as no photograph does."""
    rows = np.linspace(0, 6, height)[:, None, None]
    columns = np.linspace(0, 9, width)[None, :, None]
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    return (127 + 120 * np.sin(rows + phase) * np.cos(columns + phase)).astype(np.uint8)


def make_maps(count: int, size: tuple[int, int], seed: int = 0, *, stages: bool = False) -> Maps:
    maps = np.random.default_rng(seed).random((count, 6, 6)).astype(np.float32) ** 4
    names = tuple(f"class {index}" for index in range(count))
    return Maps(maps, names, 0.5, photo(*size), {} if stages else None)


def test_background_plane_is_where_nothing_is() -> None:
    planes = np.float32([[[0, 0.1]], [[0, 0]]])
    assert add_background(planes)[0].tolist() == [[1, 0]]


def test_blur_normalises_each_plane() -> None:
    planes = np.zeros((2, 20, 30), np.float32)
    planes[0, 10, 15] = 5
    planes[1, 3, 4] = 0.01
    before = planes.copy()
    out = blur(planes, 0.05)
    assert (planes == before).all()
    assert out.min(axis=(1, 2)).tolist() == [0, 0]
    assert out.max(axis=(1, 2)).tolist() == [1, 1]
    # Standard deviation 0.05 * 30 = 1.5 pixels: the kernel at that distance is exp(-1/2).
    assert out[0, 10, 15 + 3] == pytest.approx(np.exp(-2), abs=0.01)


@pytest.mark.parametrize(("value", "kept"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0), (7.0, 1.0)])
def test_constant_planes(value: float, kept: float) -> None:
    planes = np.full((1, 8, 9), value, np.float32)
    assert (blur(planes, 0.1) == np.float32(kept)).all()
    assert np.isnan(blur(planes, 0.1, "nan")).all()


@given(hnp.arrays(np.float32, (3, 2, 2), elements=st.floats(-50, 50, width=32)))
def test_softmax(planes: np.ndarray) -> None:
    out = softmax(planes)
    assert np.allclose(out.sum(0), 1, atol=1e-5)
    assert np.allclose(out, torch.from_numpy(planes).softmax(0).numpy(), atol=1e-6)


def test_crf_follows_the_edges_of_the_picture() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 255
    planes = np.zeros((2, 40, 60), np.float32)
    planes[0, :, :24] = 2  # six pixels short of the edge
    planes[1, :, 36:] = 2
    out = dense_crf(softmax(planes), image, PnPConfig())
    assert np.allclose(out.sum(0), 1, atol=1e-4)
    assert (out.argmax(0)[:, :30] == 0).all()
    assert (out.argmax(0)[:, 30:] == 1).all()


def test_crf_of_one_plane_and_of_a_wrong_picture() -> None:
    one = np.full((1, 4, 5), 0.2, np.float32)
    assert (dense_crf(one, photo(4, 5), PnPConfig()) == 1).all()
    with pytest.raises(OvssError, match="planes of 4 x 5 pixels"):
        dense_crf(one, photo(5, 4), PnPConfig())


def test_both_backends_of_the_crf_agree(diorama_pictures: tuple) -> None:
    images = diorama_pictures[0][:5]
    assert len(images) == 5
    for seed, picture in enumerate(images):
        image = np.asarray(picture)
        maps = make_maps(4, image.shape[:2], seed)
        maps = Maps(maps.maps, maps.classes, 0.5, image)
        one, two = (refine_maps(maps, PnPConfig(crf_backend=name)) for name in BACKENDS)
        assert len(np.unique(one.labels)) > 2
        assert (one.labels == two.labels).mean() >= 0.9995
        assert np.abs(one.planes - two.planes).max() < 1e-4
        assert two.planes.dtype == np.float32
        assert two.planes.flags.c_contiguous


def test_crf_in_odd_cases() -> None:
    image = photo(5, 4)
    image.flags.writeable = False
    assert (dense_crf(np.full((1, 5, 4), 0.2), image, PnPConfig()) == 1).all()
    found = dense_crf(np.full((3, 5, 4), 1 / 3), image, PnPConfig())
    assert np.allclose(found, 1 / 3, atol=1e-5)
    assert np.isnan(dense_crf(np.full((2, 5, 4), np.nan), image, PnPConfig())).all()
    with pytest.raises(OvssError, match="planes of 5 x 4 pixels"):
        dense_crf(np.full((2, 5, 4), 0.5), photo(4, 5), PnPConfig())


def test_what_torch_refuses_is_one_line() -> None:
    config = PnPConfig(crf_backend="torch", crf_bilateral_sxy=1e-3, crf_bilateral_srgb=1e-3)
    with pytest.raises(OvssError, match="the dense CRF: standard deviations are too small"):
        refine_maps(make_maps(2, (60, 90)), config)


def test_torch_needs_no_pydensecrf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    maps = make_maps(2, (20, 30))
    assert refine_maps(maps, PnPConfig(crf_backend="torch")).labels.shape == (20, 30)
    with pytest.raises(OvssError, match="install it, or set crf_backend=torch or crf=false"):
        refine_maps(maps, PnPConfig())


def test_decide_ties_and_background() -> None:
    planes = np.float32([[[1, 0, 0]], [[1, 2, 0]], [[0, 2, 3]]])
    assert decide(planes, background=True).tolist() == [[-1, 0, 1]]
    assert decide(planes, background=False).tolist() == [[0, 1, 2]]


def test_peak_scores() -> None:
    planes = np.float32([[[0.2, 0.9]], [[0.1, 0.3]], [[5, 5]]])
    assert peak_scores(np.array([[0, 1]]), planes) == pytest.approx((0.2, 0.3, 0.0))


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
    maps = Maps(np.zeros((0, 0, 0), np.float32), (), 0.0, photo(5, 6))
    result = refine_maps(maps, PnPConfig())
    assert (result.labels == -1).all()
    assert result.planes.shape == (0, 5, 6)
    assert result.scores == ()


@pytest.mark.parametrize("rule", ["always", "never"])
@pytest.mark.parametrize("crf", [True, False])
def test_no_salience_is_all_background(rule: str, crf: bool) -> None:
    maps = Maps(np.zeros((3, 6, 6), np.float32), ("a", "b", "c"), 0.0, photo(20, 30))
    config = PnPConfig(crf=crf, background=rule)  # type: ignore[arg-type]
    assert (refine_maps(maps, config).labels == -1).all()


def test_unclaimed_pixels_without_blur_or_background() -> None:
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, 0, 0] = 1
    config = PnPConfig(crf=False, blur=0, background="never")
    result = refine_maps(Maps(maps, ("a",), 0.0, photo(40, 40)), config)
    assert (result.labels[:5, :5] == 0).all()
    assert (result.labels[20:] == -1).all()


def test_released_nan_swallows_the_image() -> None:
    maps = np.zeros((2, 6, 6), np.float32)
    maps[1, 1:, 1:] = 1
    given_maps = Maps(maps, ("a", "b"), 0.0, photo(20, 30))
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


def test_pamr_stands_between_blur_and_crf() -> None:
    maps = make_maps(3, (20, 30), stages=True)
    config = PnPConfig(pamr=2, pamr_dilations=(1, 4))
    stages = refine_maps(maps, config).stages
    assert stages is not None
    assert list(stages) == ["thresholded", "planes", "blurred", "pamr", "crf"]
    image = torch.from_numpy(maps.image).permute(2, 0, 1) / 255
    expected = pamr(torch.from_numpy(stages["blurred"]), image, iterations=2, dilations=(1, 4))
    assert stages["pamr"].dtype == np.float32
    assert np.allclose(stages["pamr"], expected.numpy(), atol=1e-6)
    assert np.abs(stages["pamr"] - stages["blurred"]).max() > 0.01
    assert (stages["crf"] == dense_crf(softmax(stages["pamr"]), maps.image, config)).all()
    # In place of the CRF, and with neither blur nor background.
    alone = refine_maps(maps, config.replace(crf=False))
    assert (alone.planes == stages["pamr"][1:]).all()
    assert (alone.labels == decide(stages["pamr"], background=True)).all()
    bare = config.replace(crf=False, blur=0, normalise=False, background="never")
    assert list(refine_maps(maps, bare).stages or ()) == ["thresholded", "planes", "pamr"]


def test_pamr_moves_the_border_to_the_edge_of_the_picture() -> None:
    image = np.full((40, 60, 3), 30, np.uint8)
    image[:, 30:] = 200
    planes = np.zeros((2, 40, 60), np.float32)
    planes[0, :, :26], planes[1, :, 26:] = 1, 1  # four pixels short of the edge
    before = planes.copy()
    out = agreed(planes, image, 30, (1, 2, 8))
    assert (planes == before).all()
    assert (out.argmax(0)[:, :30] == 0).all()
    assert (out.argmax(0)[:, 30:] == 1).all()


@pytest.mark.parametrize("rule", ["always", "never"])
def test_pamr_without_salience_and_in_large_pictures(rule: str) -> None:
    config = PnPConfig(crf=False, pamr=2, background=rule, max_side=20)  # type: ignore[arg-type]
    empty = Maps(np.zeros((3, 6, 6), np.float32), ("a", "b", "c"), 0.0, photo(20, 30))
    assert (refine_maps(empty, config).labels == -1).all()
    large = refine_maps(make_maps(3, (40, 30)), config)
    assert large.planes.shape == (3, 20, 15)
    assert large.labels.shape == (40, 30)


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
