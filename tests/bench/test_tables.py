"""Names of files, and tables of the stored records."""

from __future__ import annotations

import json

import pytest

from ovsslib.bench import tables
from ovsslib.paths import data

STORED = {path.stem: json.loads(path.read_text()) for path in data("benchmarks").glob("*.json")}
TEXTS = {
    "bench-dask": tables.dask_text,
    "bench-evaluation": tables.evaluation_text,
    "bench-peers": tables.peers_text,
    "bench-pipeline": tables.pipeline_text,
    "bench-refine": tables.refine_text,
    "bench-salience": tables.versus_text,
    "bench-training": tables.training_text,
    "bench-tuning": tables.tuning_text,
}


@pytest.mark.parametrize("name", sorted(STORED))
def test_every_stored_record_can_be_shown(name: str) -> None:
    record = STORED[name]
    lines = TEXTS[record["kind"]](record).splitlines()
    assert len(lines) > 3
    assert not any("nan" in line.lower() for line in lines)


def test_figures_are_those_of_the_record() -> None:
    record = STORED["salience-blip-large-random-float32-cpu"]
    lines = tables.versus_text(record).splitlines()
    (row,) = [line.split() for line in lines if line.startswith("seconds per image")]
    assert row[3:] == [f"{record['seconds'][way]:.4g}" for way in ("everything", "ours")] + [
        f"{record['ratio']:.4g}"
    ]


def test_rows_without_a_value() -> None:
    shown = tables.text([{"batch": 1, "salience": 2.5}, {"batch": 2, "error": "out of memory"}])
    assert shown.splitlines()[2].split() == ["2", "out", "of", "memory"]


def test_file_names() -> None:
    where = {"dtype": "bfloat16", "device": "cuda:0 (some card)"}
    settings = {"vlm": "Salesforce/blip", "compiled": True}
    record = {"kind": "bench-salience", "settings": settings, "provenance": where}
    assert tables.file_name(record) == "salience-Salesforce-blip-bfloat16-cuda-0-compiled"
    assert tables.file_name(STORED["dask"]) == "dask"
    settings = {"vlm": "micro-blip", "split": "train"}
    record = {"kind": "bench-tuning", "settings": settings, "provenance": where}
    assert tables.file_name(record) == "tuning-micro-blip-bfloat16-cuda-0-train"


def test_file_names_of_methods_compared() -> None:
    where = {"dtype": "float32", "device": "cpu"}
    settings = {"random": True, "classes": "present"}
    record = {"kind": "bench-peers", "settings": settings, "provenance": where}
    assert tables.file_name(record) == "peers-random-present-cpu"
    record["settings"] = {"random": False, "classes": "all", "vlm": "micro-clip"}
    assert tables.file_name(record) == "peers-micro-clip-float32-cpu-all"
