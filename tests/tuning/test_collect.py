"""The store of maps: as the pipeline has them, the same when opened again, bounded, no truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters.base import ClassFilter, Oracle
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import preset
from ovsslib.pnp.refine import refine_maps
from ovsslib.protocols.protocol import get_protocol
from ovsslib.tuning import collect as module
from ovsslib.tuning.collect import (
    Images,
    LayerMaps,
    collect,
    pack,
    record_bytes,
    unpack,
)
from ovsslib.vlm import load_vlm
from support.helpers import write_voc

CONFIG = preset("micro-blip", rounds=1, crf=False)
COUNT = 12


class Blind:
    """Diorama whose label maps nobody may read."""

    def __init__(self) -> None:
        self.data = load_dataset("diorama", split="val")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def label(self, name: str) -> np.ndarray:
        raise AssertionError(f"the label map of {name} was read")


class Known(ClassFilter):
    """Labels that are known beforehand."""

    def __init__(self, labels: dict[str, tuple[int, ...]]) -> None:
        self.labels = labels

    def __call__(self, dataset: Any, name: str) -> tuple[int, ...]:
        return self.labels[name]


@pytest.fixture(scope="module")
def matcher() -> Any:
    return load_vlm("micro-blip", "cpu")


def some(limit: int | None, dataset: Any = None) -> Images:
    """Images of a data set, told the classes in their label maps."""
    data = dataset or load_dataset("diorama", split="val")
    return Images(data, get_protocol("pnp-fixed").resolved(data.name), Oracle(), limit)


@pytest.fixture(scope="module")
def images() -> Images:
    return some(COUNT)


def labels_of(images: Images) -> dict[str, tuple[int, ...]]:
    """Image-level labels."""
    return {name: images.class_filter(images.dataset, name) for name in images.ids}


@pytest.fixture(scope="module")
def store(matcher: Any, images: Images) -> LayerMaps:
    blind = dataclasses.replace(images, dataset=Blind(), class_filter=Known(labels_of(images)))
    return collect(matcher, blind, CONFIG, batch=5)


def test_equals_the_pipeline(store: LayerMaps, matcher: Any, images: Images) -> None:
    """Maps within 16 bits, and labels on 99.9 % of the pixels, of every layer and head."""
    assert store.ids == images.ids
    assert store.labels == tuple(labels_of(images).values())
    same, pixels = 0, 0
    for layer in range(1, matcher.layers + 1):
        for head in (None, *range(1, matcher.heads + 1)):
            config = CONFIG.replace(layer=layer, head=head)
            opened = [images.dataset.image(name) for name in images.ids]
            for index, maps in enumerate(PnPOVSS(matcher, config).maps(opened, store.classes)):
                mine = store.maps(index, layer, head)
                assert mine.dtype == np.float32
                assert mine.shape == maps.maps.shape
                assert np.abs(mine - maps.maps).max() <= 2e-5 * maps.maps.max()
                one = refine_maps(maps, config).labels
                two = refine_maps(dataclasses.replace(maps, maps=mine), config).labels
                same, pixels = same + int((one == two).sum()), pixels + one.size
    assert same / pixels >= 0.999


def test_a_mean_over_heads_is_not_stored(store: LayerMaps) -> None:
    heads = [store.maps(0, 1, head) for head in range(1, store.heads + 1)]
    np.testing.assert_allclose(store.maps(0, 1, None), np.mean(heads, axis=0), rtol=1e-5)


def test_the_file_goes_with_the_result(
    matcher: Any, store: LayerMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = collect(matcher, some(2), CONFIG)
    assert [file.stat().st_size for file in tmp_path.glob("*/*")] == [found.nbytes]
    np.testing.assert_allclose(found.maps(1, 2, 1), store.maps(1, 2, 1), rtol=1e-2, atol=1e-6)
    del found
    assert not list(tmp_path.iterdir())


def test_too_large(
    matcher: Any, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", collect(matcher, some(3), CONFIG).nbytes)
    with pytest.raises(OvssError, match=rf"of {COUNT} images .* 3 images fit") as caught:
        collect(matcher, images, CONFIG)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_noted(matcher: Any, tmp_path: Path) -> None:
    write_voc(tmp_path, 4)
    (tmp_path / "JPEGImages" / "img_0001.jpg").write_bytes(b"no picture")
    (tmp_path / "SegmentationClass" / "img_0002.png").unlink()
    voc = some(None, load_dataset("voc20", root=tmp_path, split="val"))
    shown: list[Any] = []

    def progress(names: Iterable[Any], title: str, total: int) -> Iterable[Any]:
        shown.append((title, total))
        return names

    store = collect(matcher, voc, CONFIG, batch=1, progress=progress)
    assert store.ids == ("img_0000", "img_0003")
    assert shown == [("maps of all layers", 3)]
    assert set(store.failed) == {"img_0001", "img_0002"}
    assert not any(str(tmp_path) in reason for reason in store.failed.values())
    (tmp_path / "JPEGImages" / "img_0000.jpg").unlink()
    lacking = dataclasses.replace(voc, limit=1)
    with pytest.raises(OvssError, match=r"no image of voc20 can be used: .*img_0000"):
        collect(matcher, lacking, CONFIG)


def test_an_image_without_classes(matcher: Any) -> None:
    few = some(3)
    labels = labels_of(few) | {few.ids[1]: ()}
    store = collect(matcher, dataclasses.replace(few, class_filter=Known(labels)), CONFIG)
    assert store.labels[1] == ()
    assert store.maps(1, 1, 1).shape == (0, *store.grid)
    assert store.maps(2, 1, 1).any()


def test_no_image_with_a_class(matcher: Any) -> None:
    nothing = dataclasses.replace(some(2), class_filter=Known(dict.fromkeys(some(2).ids, ())))
    with pytest.raises(OvssError, match="can be used: no class is given for any"):
        collect(matcher, nothing, CONFIG)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ((COUNT, 1, 1), "image 12 does not exist; there are 0 to 11"),
        ((0, 5, 1), "layer 5 does not exist; there are 1 to 4"),
        ((0, 1, 0), "head 0 does not exist; there are 1 to 4"),
    ],
)
def test_what_does_not_exist(store: LayerMaps, where: tuple[int, int, int], words: str) -> None:
    with pytest.raises(OvssError, match=words):
        store.maps(*where)


def test_random_salience_has_no_layers(matcher: Any, images: Images) -> None:
    with pytest.raises(OvssError, match="random salience"):
        collect(matcher, images, PnPConfig(salience="random"))


@pytest.mark.parametrize("magnitude", [1e-27, 1e-9, 1.0, 1e6])
def test_values_come_back(magnitude: float) -> None:
    shape = (2, 3, 4, 5, 5)
    maps = np.random.default_rng(0).random(shape, np.float32) * np.float32(magnitude)
    maps[0, 1] = 0
    maps[1, 2, 3] *= np.float32(1e-5)  # a class that is faint beside another in the same head
    maps[1, 0, 0, 0, 0] = 0
    record = np.frombuffer(pack(maps), np.uint8)
    assert record.size == record_bytes(2, 3, 4, (5, 5))
    assert record.size % 64 == 0
    for layer in (1, 2):
        found = unpack(record, shape, layer, slice(None))
        assert found.dtype == np.float32
        error = np.abs(found - maps[layer - 1]).max(axis=(2, 3))
        peaks = maps[layer - 1].max(axis=(2, 3))
        assert (error <= peaks / 131000).all()
        np.testing.assert_allclose(found.max(axis=(2, 3)), peaks, rtol=1e-6)
        assert (found[maps[layer - 1] == 0] == 0).all()
        np.testing.assert_array_equal(unpack(record, shape, layer, slice(1, 2))[0], found[1])


def test_classes_keep_their_order() -> None:
    """One scale for all classes: what was larger in one of them still is."""
    maps = np.float32([1e-7, 2e-7, 4e-3]).reshape(1, 1, 3, 1, 1) * np.ones((1, 1, 3, 2, 2))
    found = unpack(np.frombuffer(pack(maps), np.uint8), maps.shape, 1, slice(None))[0]
    assert (found[0] < found[1]).all()
    assert (found[1] < found[2]).all()


def test_a_record_without_classes() -> None:
    record = np.frombuffer(pack(np.zeros((2, 3, 0, 4, 4))), np.uint8)
    assert unpack(record, (2, 3, 0, 4, 4), 2, slice(None)).shape == (3, 0, 4, 4)
