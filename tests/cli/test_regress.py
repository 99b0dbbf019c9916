"""`ovss regress`: figures filled in, accepted, and drifting."""

from __future__ import annotations

import json
from pathlib import Path

from support.helpers import ovss, write_voc


def _expected(path: Path, vlm: Path, **figures: object) -> Path:
    config = {"layer": 1, "head": None, "rounds": 2, "image_size": None}
    runs = [
        {
            "name": name,
            "vlm": str(vlm),
            "config": config | change,
            "expect": {"miou": {"value": None, "tolerance": 1e-6}},
        }
        for name, change in {"with": {}, "without": {"crf": False}}.items()
    ]
    path.write_text(json.dumps({"schema": 1, "runs": runs} | figures))
    return path


def test_regress_fills_accepts_and_sees_drift(tmp_path: Path, tiny: Path) -> None:
    root = write_voc(tmp_path / "data", 3)
    path = _expected(tmp_path / "expected.json", tiny)
    arguments = ["regress", "--expected", path, "--root", root]
    unset = ovss(*arguments)
    assert unset.exit_code == 1
    assert "2 of 2 figures are not as expected" in unset.stderr
    assert ovss(*arguments, "--update").exit_code == 0
    same = ovss(*arguments)
    assert same.exit_code == 0, same.output
    assert same.output.count(" ok") == 2
    record = json.loads(path.read_text())
    record["runs"][0]["expect"]["miou"]["value"] += 0.01
    path.write_text(json.dumps(record))
    drifted = ovss(*arguments)
    assert drifted.exit_code == 1
    assert "DRIFT" in drifted.output
    assert "1 of 2 figures" in drifted.stderr


def test_regress_without_its_file(tmp_path: Path) -> None:
    done = ovss("regress", "--expected", tmp_path / "gone.json")
    assert done.exit_code == 2
    assert "no file of expected figures" in done.stderr
