"""Whether two computations agree is judged correctly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ovsslib.bench.agreement import compare, same_labels
from ovsslib.bench.case import synthetic_image
from ovsslib.bench.full_graph import Rounds
from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.result import Maps


def one_image(maps: Any, dropped: Any) -> tuple[list[Rounds], list[Maps]]:
    """A reference and the same as the pipeline's result; (N, 1, 4) maps."""
    maps, dropped = np.float32(maps), np.array(dropped, bool)
    stages = {"rounds": maps.reshape(-1, 1, 2, 2), "dropped": dropped.reshape(-1, 2, 2)}
    image = synthetic_image(0, (4, 4))
    mine = Maps(maps.sum(0).reshape(1, 2, 2), ("cat",), 0.5, image, stages)
    return [Rounds(maps, dropped, maps[:, 0])], [mine]


def test_agreement_judges_other_patches_by_the_reference() -> None:
    maps = [[[4, 4 - 1e-5, 1, 0]], [[0, 2, 1, 0]]]
    reference, _ = one_image(maps, [[0, 0, 0, 0], [1, 0, 0, 0]])
    _, tie = one_image(maps, [[0, 0, 0, 0], [0, 1, 0, 0]])
    agreement = compare(reference, tie, 1, 1e-3)
    assert (agreement.agree, agreement.other_patches, agreement.wrong_patches) == (True, 1, 0)
    assert agreement.to_dict()["rounds"] == [0.0, None]
    for wrong in ([0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]):
        _, other = one_image(maps, [[0, 0, 0, 0], wrong])
        agreement = compare(reference, other, 1, 1e-3)
        assert (agreement.agree, agreement.wrong_patches) == (False, 1), wrong
    _, early = one_image(maps, [[1, 0, 0, 0], [1, 0, 0, 0]])
    assert compare(reference, early, 1, 1e-3).wrong_patches == 1


def test_values_that_are_not_finite() -> None:
    gone = [[0, 0, 0, 0]]
    reference, right = one_image([[[1, 2, 3, 4]]], gone)
    _, wrong = one_image([[[1, 2, 3, np.nan]]], gone)
    assert compare(reference, right, 1, 0.0).agree
    agreement = compare(reference, wrong, 1, 0.5)
    assert not agreement.agree
    assert agreement.to_dict()["rounds"] == ["not finite"]
    reference, right = one_image([[[0, 0, 0, 0]]], gone)
    with pytest.raises(OvssError, match="0 everywhere"):
        compare(reference, right, 1, 0.5)


def test_labels_are_compared_after_refinement() -> None:
    maps = np.float32([[[5, 0, 0, 0], [0, 0, 0, 5]]])
    dropped = np.zeros((1, 4), bool)
    reference = [Rounds(maps, dropped, maps.sum(1))]
    same, other = (
        [Maps(each.reshape(2, 2, 2), ("cat", "dog"), 0.5, synthetic_image(0, (8, 8)))]
        for each in (maps[0], maps[0, ::-1])
    )
    config = PnPConfig(crf=False, blur=0)
    assert same_labels(reference, same, config) == [1.0]
    assert max(same_labels(reference, other, config)) < 1
