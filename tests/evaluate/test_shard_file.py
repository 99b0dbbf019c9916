"""Parts of a run on disk: whole or not there, and their sum is the run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate.result import RunResult
from ovsslib.evaluate.shard_file import Shard, cut, merge, read, write
from ovsslib.metrics.counts import COUNT_NAMES, Counts


def made_up(images: int, *, seed: int = 0, first: int = 0, labels: int = 6) -> RunResult:
    rng = np.random.default_rng(seed)

    def counts() -> Counts:
        return Counts(*(rng.integers(0, 3, (images, labels)) * 7 for _ in COUNT_NAMES))

    return RunResult(
        method="pnp-ovss",
        vlm="micro-blip",
        dataset="diorama",
        split="val",
        protocol={"name": "pnp-fixed", "absent": "count"},
        filter="oracle",
        config={"layer": 2, "head": None},
        config_hash="0123456789",
        classes=tuple(f"class {k}" for k in range(1, labels)),
        things=frozenset({1, 3}),
        scored=tuple(range(1, labels)),
        ids=tuple(f"b{first + k}é" for k in range(images)),
        counts=counts(),
        boundary=counts(),
        confusion=rng.integers(0, 4, (labels, labels)),
        failed={f"gone {first}": "no such file"},
        seconds=1.5,
        stages={"read": 0.25, "refine": 1.0},
        provenance={"python": "3"},
        limit=4,
        filter_settings={"threshold": 0.5},
    )


def equal(one: RunResult, other: RunResult) -> bool:
    arrays = ("counts", "boundary", "confusion")
    for field in dataclasses.fields(RunResult):
        if field.name not in arrays and getattr(one, field.name) != getattr(other, field.name):
            return False
    areas = [(a.counts, a.boundary) for a in (one, other)]
    return np.array_equal(one.confusion, other.confusion) and all(
        np.array_equal(getattr(mine, name), getattr(yours, name))
        for mine, yours in zip(*areas, strict=True)
        for name in COUNT_NAMES
    )


def test_shards_cover_the_pictures_once() -> None:
    for pictures, size in ((1, 1), (7, 3), (9, 3), (5, 100)):
        shards = cut(pictures, size)
        assert [k for s in shards for k in range(s.start, s.stop)] == list(range(pictures))
        assert [s.index for s in shards] == list(range(len(shards)))
        assert {s.count for s in shards} == {len(shards)}
    assert cut(0, 3) == []
    with pytest.raises(OvssError, match="a shard's size must be int >= 1, got 0"):
        cut(3, 0)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    result = made_up(4)
    path = Shard(3, 12, 9, 13).file(tmp_path / "run_0a1b")
    assert path.name == "run_0a1b-00003-of-00012.parquet"
    write(result, path)
    assert equal(read(path), result)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary file stays"
    types = {field.name: str(field.type) for field in pq.read_schema(path)}
    assert types["pixels"] == "int64"
    assert not [kind for kind in types.values() if "float" in kind or "double" in kind]


def test_a_part_without_a_readable_picture(tmp_path: Path) -> None:
    result = made_up(0)
    assert equal(read(write(result, tmp_path / "a.parquet")), result)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_damaged_files_are_told(tmp_path: Path, keep: float) -> None:
    path = write(made_up(4), tmp_path / "a.parquet")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(OvssError, match=r"a\.parquet: no shard .* delete it and run again"):
        read(path)


def test_another_table_is_no_shard(tmp_path: Path) -> None:
    import pandas as pd

    pd.DataFrame({"image": [1]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(OvssError, match="no shard"):
        read(tmp_path / "a.parquet")
    with pytest.raises(OvssError, match="no shard"):
        read(tmp_path / "missing.parquet")


def test_parts_add_up_in_their_order() -> None:
    parts = [made_up(n, seed=n, first=10 * n) for n in (3, 1, 2)]
    whole = merge(parts)
    assert whole.ids == sum((part.ids for part in parts), ())
    assert np.array_equal(whole.confusion, sum(part.confusion for part in parts))
    assert np.array_equal(whole.counts.truth[3], parts[1].counts.truth[0])
    assert np.array_equal(whole.boundary.predicted[4:], parts[2].boundary.predicted)
    assert whole.stages == {"read": 0.75, "refine": 3.0}
    assert whole.seconds == 4.5
    assert set(whole.failed) == {"gone 30", "gone 10", "gone 20"}


def test_parts_of_different_runs_do_not_add_up() -> None:
    other = dataclasses.replace(made_up(2), config_hash="9999999999")
    with pytest.raises(OvssError, match="differ in config_hash"):
        merge([made_up(2), other])
    with pytest.raises(OvssError, match="no part"):
        merge([])


def test_no_reason_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "no-known-form-0123")
    result = dataclasses.replace(made_up(2), failed={"p": "refused: no-known-form-0123"})
    path = write(result, tmp_path / "a.parquet")
    assert read(path).failed == {"p": "refused: [key]"}
    assert b"no-known-form" not in path.read_bytes()
