"""`ovss bench evaluation`: its files, figures and counts. Nothing here is timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ovsslib.bench import counting
from ovsslib.bench.counting import evaluation, synthetic_label, synthetic_prediction, write_files
from ovsslib.cli.main import app
from ovsslib.datasets.coco_stuff import coco_stuff
from ovsslib.errors import OvssError


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def test_synthetic_labels_are_like_labels() -> None:
    maps = [synthetic_label(seed, (100, 75), 171) for seed in range(8)]
    assert all(label.shape == (75, 100) and label.dtype == np.uint8 for label in maps)
    present = [set(np.unique(label).tolist()) for label in maps]
    assert all(5 <= len(values - {255}) <= 15 for values in present)
    assert all(values - {255} <= set(range(1, 172)) for values in present)
    assert any(255 in values for values in present)
    assert (maps[0] == synthetic_label(0, (100, 75), 171)).all()
    assert (maps[0] != maps[1]).any()


def test_a_synthetic_prediction_is_right_in_part() -> None:
    label = synthetic_label(3, (100, 75), 20)
    prediction = synthetic_prediction(label)
    assert prediction.dtype == np.int16
    assert prediction.min() >= -1
    assert prediction.max() < 20
    scored = label != 255
    assert 0.1 < (prediction + 1 == label)[scored].mean() < 1


def test_the_files_are_coco_stuffs(tmp_path: Path) -> None:
    drawn = list(write_files(tmp_path, 3, (40, 30), 171))
    dataset = coco_stuff(tmp_path)
    assert len(dataset.ids) == 3
    for name, label in zip(dataset.ids, drawn, strict=True):
        assert (dataset.label(name) == label).all()
        assert dataset.image(name).size == (40, 30)


def test_record_and_table(tmp_path: Path) -> None:
    words = "evaluation --images 12 --width 40 --height 30 --classes 171"
    done = ovss(words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "images per second" in done.stdout
    assert "the counts are right" in done.stdout
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["kind"] == "bench-evaluation"
    assert record["counts_agree"] is True
    assert record["settings"]["images"] == record["settings"]["distinct"] == 12
    spent, rate = record["milliseconds"], record["rate"]
    assert rate["label"] == pytest.approx(1000 / spent["label"])
    assert rate["evaluation"] == pytest.approx(1000 / (spent["label"] + spent["confusion"]))
    assert rate["with_picture"] == pytest.approx(1000 / sum(spent.values()))
    memory = record["memory"]
    assert memory["growth"] == memory["last"] - memory["first"]
    assert record["provenance"]["packages"]["pillow"]


@pytest.mark.parametrize("images", [1, 2, 5])
def test_images_are_read_again_and_again(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    monkeypatch.setattr(counting, "DISTINCT", 2)
    record = evaluation(images, (24, 18), 1)
    assert record["counts_agree"]
    assert record["settings"]["distinct"] == min(2, images)


def test_wrong_counts_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = counting.confusion_matrix
    monkeypatch.setattr(counting, "confusion_matrix", lambda *a, **k: right(*a, **k) * 2)
    done = ovss("evaluation --images 2 --width 40 --height 30 --json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["counts_agree"] is False
    assert "not those of the images" in done.stderr


@pytest.mark.parametrize("words", ["--images 0", "--classes 172", "--width 0"])
def test_numbers_out_of_range(words: str) -> None:
    assert ovss(f"evaluation {words}").exit_code == 2


def test_library_says_what_it_takes() -> None:
    with pytest.raises(OvssError, match="classes must be int from 1 to 171"):
        evaluation(2, (10, 10), 172)
