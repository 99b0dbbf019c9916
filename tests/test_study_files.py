"""Studies as files: what is written comes back, what is no study is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ovsslib.errors import OvssError
from ovsslib.study_files import load_study, save_study
from ovsslib.tuning import Space
from ovsslib.tuning_study import Study
from test_study_figures import made


def full() -> Study:
    """With several heads, and what a study notes."""
    study = made(np.random.default_rng(0).random((25, 12)))
    space = Space((1, 2), (None, 1, (1, 2)), (0.05, 0.25), (0.03, 0.05))
    return dataclasses.replace(study, space=space, facts={"vlm": "micro-blip"})


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    found = full()
    again = load_study(save_study(found, tmp_path / "s.parquet"))
    for field in dataclasses.fields(Study):
        one, other = getattr(found, field.name), getattr(again, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match=r"ends in \.parquet"):
        save_study(made(), tmp_path / "s.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    for name in ("bad", "none"):
        with pytest.raises(OvssError, match="make it again"):
            load_study(tmp_path / f"{name}.parquet")
