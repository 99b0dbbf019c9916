"""Features of the same images under many lists of names: computed once, and nothing changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.peers.dense import DenseClip
from ovsslib.peers.kept import features_kept
from ovsslib.protocols.adapter import windowed
from ovsslib.protocols.protocol import get_protocol
from support.helpers import make_tiny_blip
from support.towers import micro

DATA = load_dataset("diorama", None, "tune")
IMAGES = [DATA.image(name) for name in DATA.ids[:2]]
LISTS = [["sky", "grass"], ["heavens", "lawn", "house"], ["road"]]


def counted(method: DenseClip, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batch sizes of the calls that compute."""
    calls: list[int] = []
    compute = type(method).features

    def features(self: DenseClip, pixels: object) -> object:
        calls.append(len(pixels))
        return compute(self, pixels)

    monkeypatch.setattr(type(method), "features", features)
    return calls


@pytest.mark.parametrize("name", ["maskclip", "sclip"])
def test_answers_are_the_same_and_features_computed_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ovsslib.load(name, vlm=micro())
    plain = [method.segment_batch(IMAGES, [names] * 2) for names in LISTS]
    calls = counted(method, monkeypatch)
    with features_kept(method):
        shared = [method.segment_batch(IMAGES, [names] * 2) for names in LISTS]
        assert calls == [2]
        method.segment_batch(IMAGES[:1], [["sky"]])
        assert calls == [2, 1]
    for one, other in zip(plain, shared, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert np.array_equal(mine.planes, theirs.planes)
            assert np.array_equal(mine.labels, theirs.labels)
    method.segment_batch(IMAGES, [LISTS[0]] * 2)
    assert calls == [2, 1, 2]
    assert "features" not in vars(method)


def test_windows_and_copies_share(monkeypatch: pytest.MonkeyPatch) -> None:
    method = ovsslib.load("maskclip", vlm=micro())
    sclip = get_protocol("sclip").resolved("diorama")
    plain = windowed(method, sclip, DATA).segment_batch(IMAGES[:1], [LISTS[1]])[0]
    calls = counted(method, monkeypatch)
    with features_kept(method):
        windowed(method, sclip, DATA).segment_batch(IMAGES[:1], [LISTS[0]])
        looks = len(calls)
        assert looks > 1
        found = windowed(method, sclip, DATA).segment_batch(IMAGES[:1], [LISTS[1]])[0]
        assert len(calls) == looks
    assert np.array_equal(plain.labels, found.labels)


def test_an_error_inside_ends_it() -> None:
    method = ovsslib.load("maskclip", vlm=micro())
    with pytest.raises(ZeroDivisionError), features_kept(method):
        raise ZeroDivisionError
    assert "features" not in vars(method)


def test_other_methods_compute_as_ever(tmp_path: Path) -> None:
    model = ovsslib.load("pnp-ovss", vlm=str(make_tiny_blip(tmp_path / "tiny")), layer=1, head=1)
    before = dict(vars(model))
    with features_kept(model):
        assert vars(model) == before
