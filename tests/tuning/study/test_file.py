"""Studies as files: what is written comes back, what is no study is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.search import Space
from ovsslib.tuning.study.file import load_study, save_study
from ovsslib.tuning.study.judge import Study
from tuning.study.test_figures import made


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
    with pytest.raises(OvssError, match=r"end in \.parquet"):
        save_study(made(), tmp_path / "s.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    table = pq.read_table(save_study(made(), tmp_path / "good.parquet"))
    place = table.column_names.index("rewards")
    nothing = pa.nulls(len(table), table.schema.field("rewards").type)
    pq.write_table(table.set_column(place, "rewards", nothing), tmp_path / "null.parquet")
    (key,) = table.schema.metadata
    meta = json.loads(table.schema.metadata[key]) | {"labels": 1}
    few = table.replace_schema_metadata({key: json.dumps(meta)})
    pq.write_table(few, tmp_path / "few.parquet")
    for name in ("bad", "none", "null", "few"):
        with pytest.raises(OvssError, match="make it again"):
            load_study(tmp_path / f"{name}.parquet")
