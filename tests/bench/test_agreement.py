"""Whether two computations found the same is judged rightly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ovsslib.bench.agreement import compare
from ovsslib.bench.case import made_up_picture
from ovsslib.bench.full_graph import Found
from ovsslib.errors import OvssError
from ovsslib.pnp.result import Maps


def one_picture(maps: Any, dropped: Any) -> tuple[list[Found], list[Maps]]:
    """A reference and the same as the pipeline's result; (N, 1, 4) maps."""
    maps, dropped = np.float32(maps), np.array(dropped, bool)
    kept = {"rounds": maps.reshape(-1, 1, 2, 2), "dropped": dropped.reshape(-1, 2, 2)}
    picture = made_up_picture(0, (4, 4))
    mine = Maps(maps.sum(0).reshape(1, 2, 2), ("cat",), 0.5, picture, kept)
    return [Found(maps, dropped, maps[:, 0])], [mine]


def test_agreement_judges_other_patches_by_the_reference() -> None:
    maps = [[[4, 4 - 1e-5, 1, 0]], [[0, 2, 1, 0]]]
    reference, _ = one_picture(maps, [[0, 0, 0, 0], [1, 0, 0, 0]])
    _, tie = one_picture(maps, [[0, 0, 0, 0], [0, 1, 0, 0]])
    found = compare(reference, tie, 1, 1e-3)
    assert (found.agree, found.other_patches, found.wrong_patches) == (True, 1, 0)
    assert found.to_dict()["rounds"] == [0.0, None]
    for wrong in ([0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]):
        _, other = one_picture(maps, [[0, 0, 0, 0], wrong])
        found = compare(reference, other, 1, 1e-3)
        assert (found.agree, found.wrong_patches) == (False, 1), wrong
    _, early = one_picture(maps, [[1, 0, 0, 0], [1, 0, 0, 0]])
    assert compare(reference, early, 1, 1e-3).wrong_patches == 1


def test_agreement_with_values_that_are_no_numbers() -> None:
    gone = [[0, 0, 0, 0]]
    reference, right = one_picture([[[1, 2, 3, 4]]], gone)
    _, wrong = one_picture([[[1, 2, 3, np.nan]]], gone)
    assert compare(reference, right, 1, 0.0).agree
    found = compare(reference, wrong, 1, 0.5)
    assert not found.agree
    assert found.to_dict()["rounds"] == ["not finite"]
    reference, right = one_picture([[[0, 0, 0, 0]]], gone)
    with pytest.raises(OvssError, match="0 everywhere"):
        compare(reference, right, 1, 0.5)
