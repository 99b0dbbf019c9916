"""Results files: their schema, their numbers, and that a run can be computed again from them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate import result as results
from ovsslib.metrics import iou as metrics
from ovsslib.pnp.presets import PRESETS
from support.helpers import ROOT
from support.results import make_result


def test_figures_are_those_of_metrics() -> None:
    result = make_result()
    got = results.figures(result)
    iou = metrics.iou(result.counts)
    assert got["miou"]["value"] == pytest.approx(np.mean(iou[1:]))
    assert got["miou_things"]["value"] == pytest.approx(np.mean(iou[1:3]))
    assert got["miou_stuff"]["value"] == pytest.approx(iou[3]) == 0
    assert got["iou_background"] == pytest.approx(iou[0])
    assert got["miou"]["low"] <= got["miou"]["value"] <= got["miou"]["high"]
    assert got["classes"]["dog"]["recall"] == pytest.approx(metrics.recall(result.counts)[2])
    assert got["classes"]["sky"] == {"iou": 0.0, "precision": 0.0, "recall": None}


def test_a_background_that_is_void_has_no_figure(tmp_path: Path) -> None:
    """It has no true pixel, and what was taken for it is an error of the classes."""
    result = make_result()
    truth = result.counts.truth.copy()
    truth[:, 0] = 0
    hits = np.minimum(result.counts.intersection, truth)
    void = replace(result, counts=replace(result.counts, truth=truth, intersection=hits))
    assert void.counts.predicted[:, 0].any()
    assert results.figures(void)["iou_background"] is None
    path = results.save(void, tmp_path)
    assert np.isnan(pd.read_parquet(path.with_suffix(".classes.parquet"))["iou"][0])
    scored = replace(void, scored=(0, *void.scored))
    assert results.figures(scored)["iou_background"] == 0


def test_figure_by_name() -> None:
    got = results.figures(make_result())
    assert results.figure(got, "miou") == got["miou"]["value"]
    assert results.figure(got, "pixel_accuracy") == got["pixel_accuracy"]
    assert results.figure(got, "precision/cat") == got["classes"]["cat"]["precision"]
    assert results.figure(got, "recall/sky") is None
    for wrong in ("mIoU", "iou/fox", "classes", "speed/cat"):
        with pytest.raises(OvssError, match="no figure is called"):
            results.figure(got, wrong)


def test_saved_files(tmp_path: Path) -> None:
    result = make_result()
    path = results.save(result, tmp_path / "new")
    assert sorted(p.suffixes[-2:] for p in path.parent.iterdir()) == [
        [".classes", ".parquet"],
        [".images", ".parquet"],
        [".json"],
    ]
    record = json.loads(path.read_text())
    assert record["schema"] == 1
    assert record["metrics"] == results.figures(result)
    assert record["config_hash"] == "0123456789"
    assert record["images"] == 5
    table = pd.read_parquet(path.with_suffix(".classes.parquet"))
    assert table["class"].tolist() == ["background", "cat", "dog", "sky"]
    assert table["kind"].tolist() == ["background", "thing", "thing", "stuff"]
    assert table["iou"].to_numpy() == pytest.approx(metrics.iou(result.counts))
    assert table["truth"].sum() == 5 * 72


def test_a_run_can_be_computed_again_from_its_file(tmp_path: Path) -> None:
    result = make_result()
    path = results.save(result, tmp_path)
    ids, counts = results.load_counts(path)
    assert ids == result.ids
    for name in ("intersection", "predicted", "truth"):
        assert getattr(counts, name).dtype == np.int64
        assert (getattr(counts, name) == getattr(result.counts, name)).all()
    again = metrics.interval(counts, result.scored).to_dict()
    assert json.loads(path.read_text())["metrics"]["miou"] == again


def test_missing_or_damaged_table(tmp_path: Path) -> None:
    path = results.save(make_result(), tmp_path)
    path.with_suffix(".images.parquet").write_bytes(b"PAR1")
    with pytest.raises(OvssError, match="run it again"):
        results.load_counts(path)
    with pytest.raises(OvssError, match="run it again"):
        results.load_counts(tmp_path / "gone.json")


def test_names_differ_when_runs_do() -> None:
    result = make_result()
    changed = [{"limit": 3}, {"filter": "all"}, {"config_hash": "x"}, {"split": "tune"}]
    changed += [{"vlm": "owner-model"}, {"dataset": "voc"}]
    names = {replace(result, **change).name for change in changed} | {result.name}
    assert len(names) == 7
    assert not any("/" in name for name in names)
    assert make_result(1).name == result.name


def test_settings_of_a_filter_are_part_of_a_run() -> None:
    result = make_result()
    assert "filter_settings" not in results.to_dict(result)
    vlm = [replace(result, filter="vlm", filter_settings={"threshold": t}) for t in (0.4, 0.5)]
    assert results.to_dict(vlm[0])["filter_settings"] == {"threshold": 0.4}
    assert len({result.name, *(one.name for one in vlm)}) == 3


def test_stored_results_keep_their_names() -> None:
    stored = sorted((ROOT / "data/results").glob("*.json"))
    assert stored
    keys = ("method", "vlm", "dataset", "split", "protocol", "filter", "config_hash", "limit")
    for path in stored:
        record = json.loads(path.read_text())
        same = {key: record[key] for key in keys}
        same["filter_settings"] = record.get("filter_settings", {})
        assert replace(make_result(), **same).name == record["name"] == path.stem


def test_not_a_number_becomes_null() -> None:
    text = results.dumps({"a": math.nan, "b": (np.float64(1.5), np.int64(2)), "c": {3}})
    assert json.loads(text) == {"a": None, "b": [1.5, 2], "c": [3]}


def test_a_data_set_without_stuff_has_no_stuff_figure() -> None:
    result = replace(make_result(), things=frozenset({1, 2, 3}))
    assert "miou_stuff" not in results.figures(result)


def test_a_run_by_the_preset() -> None:
    config = {**PRESETS["micro-blip"].to_dict(), "background": "few"}
    record = {"method": "pnp-ovss", "vlm": "micro-blip", "config": config}
    assert results.by_preset(record)
    assert not results.by_preset({**record, "config": {**config, "crf": not config["crf"]}})
    assert not results.by_preset({**record, "vlm": "some/other"})
    assert results.by_preset({"method": "naclip", "vlm": "some/other", "config": {}})
