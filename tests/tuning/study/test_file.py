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
from ovsslib.tuning.study.file import Study, load_study, save_study
from support.studies import made


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((25, 12))
    written = dataclasses.replace(made(noise), facts={"vlm": "micro-blip"})
    read = load_study(save_study(written, tmp_path / "s.parquet"))
    for field in dataclasses.fields(Study):
        first, second = getattr(written, field.name), getattr(read, field.name)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second)
        else:
            assert first == second


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
