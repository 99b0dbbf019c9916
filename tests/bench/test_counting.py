"""``ovss bench evaluation``: its files, figures and counts. Nothing here is timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ovsslib.bench.counting import evaluation, made_up_label, made_up_prediction, write_files
from ovsslib.cli.main import app
from ovsslib.datasets.coco_stuff import coco_stuff
from ovsslib.errors import OvssError
from ovsslib.protocols import protocol


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def test_made_up_labels_look_like_labels() -> None:
    maps = [made_up_label(seed, (100, 75), 171) for seed in range(8)]
    assert all(one.shape == (75, 100) and one.dtype == np.uint8 for one in maps)
    present = [set(np.unique(one).tolist()) for one in maps]
    assert all(5 <= len(values - {255}) <= 15 for values in present)
    assert all(values - {255} <= set(range(1, 172)) for values in present)
    assert any(255 in values for values in present)
    assert (maps[0] == made_up_label(0, (100, 75), 171)).all()
    assert (maps[0] != maps[1]).any()


def test_a_made_up_prediction_is_right_in_part() -> None:
    label = made_up_label(3, (100, 75), 20)
    said = made_up_prediction(label)
    assert said.dtype == np.int16
    assert said.min() >= -1
    assert said.max() < 20
    kept = label != 255
    assert 0.1 < (said + 1 == label)[kept].mean() < 1


def test_the_files_are_coco_stuffs(tmp_path: Path) -> None:
    totals = write_files(tmp_path, 5, (40, 30), 171, 2)
    dataset = coco_stuff(tmp_path)
    assert len(dataset.ids) == 5
    labels = [dataset.label(name) for name in dataset.ids]
    for index, label in enumerate(labels):
        assert (label == made_up_label(index % 2, (40, 30), 171)).all()
        assert dataset.image(dataset.ids[index]).size == (40, 30)
    pixels = np.concatenate([label[label != 255] for label in labels])
    assert (totals[2] == np.bincount(pixels, minlength=172)).all()
    assert totals[1].sum() == totals[2].sum()
    assert (totals[0] <= totals[1:].min(0)).all()


def test_record_and_table(tmp_path: Path) -> None:
    words = "evaluation --images 12 --width 40 --height 30 --classes 171"
    done = ovss(words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "label and confusion" in done.stdout
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


def test_a_class_is_enough() -> None:
    assert evaluation(3, (24, 18), 1, distinct=2)["counts_agree"]


def test_wrong_counts_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = protocol.confusion_matrix
    monkeypatch.setattr(protocol, "confusion_matrix", lambda *a, **k: right(*a, **k) * 2)
    done = ovss("evaluation --images 2 --width 40 --height 30 --json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["counts_agree"] is False
    assert "not those of the images" in done.stderr


def test_where_files_cannot_be_linked_they_are_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    write_files(tmp_path, 3, (24, 18), 5, 1)
    assert len(coco_stuff(tmp_path).ids) == 3


@pytest.mark.parametrize("words", ["--images 0", "--classes 172", "--width 0"])
def test_numbers_out_of_range(words: str) -> None:
    assert ovss(f"evaluation {words}").exit_code == 2


def test_library_says_what_it_takes() -> None:
    with pytest.raises(OvssError, match="at most 171 classes"):
        evaluation(2, (10, 10), 172)
