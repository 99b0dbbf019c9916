"""Synthetic images, class names, and models that are opened with their settings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ovsslib.bench.case import Spec, class_names, prepare, synthetic_image
from ovsslib.bench.random_models import TINY
from ovsslib.errors import OvssError

SPEC = Spec(vlm=TINY, image_size=64, classes=3, layer=2, head=2, images=3, batch=2, device="cpu")


def test_class_names_differ() -> None:
    for count in (1, 20, 45):
        for first in (0, 19, 77):
            assert len(set(class_names(count, first))) == count


def test_images_depend_on_the_seed_only() -> None:
    assert synthetic_image(0).shape == (375, 500, 3)
    assert np.array_equal(synthetic_image(1, (8, 6)), synthetic_image(1, (8, 6)))
    assert not np.array_equal(synthetic_image(1, (8, 6)), synthetic_image(2, (8, 6)))


def test_a_case_comes_in_batches() -> None:
    case = prepare(SPEC)
    assert [len(images) for images, _ in case.batches()] == [2, 1]
    assert all(len(names) == 3 for names in case.classes)
    assert case.describe()["image_size"] == 64


def test_a_compiled_image_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))  # noqa: PLW0108
    case = prepare(dataclasses.replace(SPEC, compiled=True))
    assert compiled == [case.matcher.image_encoder]  # type: ignore[attr-defined]
    assert case.describe()["compiled"] is True
    assert prepare(SPEC).describe()["compiled"] is False


def test_counts_below_one() -> None:
    with pytest.raises(OvssError, match="batch must be int >= 1, got 0"):
        Spec(batch=0)
