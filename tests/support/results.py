"""Results of runs and figures for the tests of tables and charts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ovsslib.evaluate import result as results
from ovsslib.evaluate.result import RunResult
from ovsslib.metrics.counts import Counts, image_counts
from ovsslib.protocols.protocol import get_protocol
from ovsslib.reports.published import Figure
from support.helpers import ROOT

STORED = ROOT / "data" / "results"


def make_result(seed: int = 0, images: int = 5) -> RunResult:
    """A run over random label maps: two things, and a stuff class that is never true."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, (images, 8, 9))
    pred = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 4, truth.shape))
    counts = Counts.stack([image_counts(p, t, 4) for p, t in zip(pred, truth, strict=True)])
    return RunResult(
        method="pnp-ovss",
        vlm="owner/model",
        dataset="toy",
        split="val",
        protocol=get_protocol("pnp-fixed").to_dict(),
        filter="oracle",
        config={"layer": 1},
        config_hash="0123456789",
        classes=("cat", "dog", "sky"),
        things=frozenset({1, 2}),
        scored=(1, 2, 3),
        ids=tuple(f"p{i}" for i in range(images)),
        counts=counts,
        seconds=1.5,
        provenance={"python": "3"},
    )


def make_confusions() -> RunResult:
    """A run with a confusion matrix; its sky is never true."""
    #                  none cat dog sky
    matrix = np.array([[5, 1, 0, 0], [0, 90, 10, 0], [4, 4, 0, 0], [0, 0, 0, 0]])
    return replace(make_result(), confusion=matrix)


def stored(metric: str) -> str:
    """The figure of micro-bridgetower's stored run with classes given, as tables spell it."""
    (path,) = STORED.glob("pnp-ovss_micro-bridgetower_*_oracle_*.json")
    found = json.loads(path.read_text())["metrics"][metric]
    value, low, high = (f"{100 * found[name]:.1f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def store(folder: Path, **change: object) -> Path:
    """A real results file of a small run, with fields of its JSON changed."""
    path = results.save(make_result(), folder)
    record = json.loads(path.read_text()) | change
    name = f"{record['config_hash']}_{record['dataset']}_{record['limit']}.json"
    path.unlink()
    path = folder / name
    path.write_text(json.dumps(record))
    return path


def figure(kind: str = "measured", **change: object) -> Figure:
    same = {
        "kind": kind,
        "system": "pnp-ovss",
        "training": "",
        "supervision": "image-text",
        "model": "micro-blip",
        "protocol": "pnp-fixed",
        "filter": "oracle",
        "dataset": "voc21",
        "split": "val",
        "metric": "miou",
        "value": 50.0,
        "text": "50.0",
        "source": "a.json",
    }
    return Figure(**{**same, **change})
