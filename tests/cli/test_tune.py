"""`ovss tune`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ovsslib.cli.main import app
from ovsslib.filters import clip as filters_clip
from ovsslib.tuning.study.file import load_study
from support.helpers import one_error


def test_a_preset_is_written_and_runs(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    words = f"tune --limit 2 --trials 2 --device cpu -o {out}"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    assert "micro-blip on diorama tune: 2 candidates, 2 images" in done.stdout
    record = json.loads(out.read_text())
    again = CliRunner().invoke(app, [*words.split(), "--json"])
    assert json.loads(again.stdout)["config"] == record["config"]
    done = CliRunner().invoke(
        app, f"run --preset {out} --limit 2 --device cpu --set crf=false -o {tmp_path}/o".split()
    )
    assert done.exit_code == 0, done.output
    one_error(CliRunner().invoke(app, ["tune", "--sampler", "tep"]), 2, "did you mean 'tpe'")
    one_error(CliRunner().invoke(app, ["tune", "--reward", "scop=image"]), 2, "'scope'")


@pytest.mark.parametrize("words", ["0.05;0.1", "1.5", "x", "0.1,", "nan"])
def test_thresholds_that_make_no_sense(words: str) -> None:
    done = CliRunner().invoke(app, ["tune", "--thresholds", words])
    one_error(done, 2, "--thresholds")


@pytest.mark.parametrize("download", [False, True])
def test_models_may_be_fetched_if_wanted(tmp_path: Path, download: bool) -> None:
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        import ovsslib

        load, clip = ovsslib.load, filters_clip.load_open_clip

        def noted(*args: object, **more: object) -> object:
            seen["model"] = more.pop("download", False)
            return load(*args, **more)  # type: ignore[arg-type]

        def noted_clip(*args: str, download: bool) -> object:
            seen["clip"] = download
            return clip(*args)

        patch.setattr(ovsslib, "load", noted)
        patch.setattr(filters_clip, "load_open_clip", noted_clip)
        words = "tune --limit 1 --trials 1 --device cpu -o".split()
        words += [str(tmp_path / "p.json"), *(["--download"] if download else [])]
        assert CliRunner().invoke(app, words).exit_code == 0
    assert seen == {"model": download, "clip": download}


def test_a_clip_that_is_not_here_is_named(tmp_path: Path) -> None:
    words = ["tune", "--limit", "1", "--device", "cpu", "-o", str(tmp_path / "p.json")]
    done = CliRunner().invoke(app, [*words, "--reward", "model=ViT-B-32:nobody"])
    one_error(done, 2, "ViT-B-32:nobody")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-o", "mine.yml"], "end in .json"),
        (["--ablate", "scope"], "belong to --study"),
        (["--no-rewards"], "belong to --study"),
        (["--study", "s.parquet", "--race"], "leave --race out"),
        (["--study", "s.parquet", "--storage", "t.sqlite"], "leave --storage out"),
        (["--filter-set", "side=512"], "captions have no settings"),
    ],
    ids=" ".join,
)
def test_what_would_be_ignored_is_refused_before_the_work(words: list[str], reason: str) -> None:
    done = CliRunner().invoke(app, ["tune", "--limit", "1", "--device", "cpu", *words])
    one_error(done, 2, reason)


@pytest.mark.parametrize("option", ["--out", "--study"])
def test_a_place_that_cannot_be_written_is_named_before_the_search(
    tmp_path: Path, option: str
) -> None:
    (tmp_path / "file").touch()
    for place in ("file/p", "folder"):
        path = tmp_path / f"{place}{'.json' if option == '--out' else '.parquet'}"
        if place == "folder":
            path.mkdir()
        # The model would be looked for first thing of the search.
        done = CliRunner().invoke(app, ["tune", "--vlm", "nobody/nothing", option, str(path)])
        one_error(done, 2, "name a file" if place == "folder" else "the folder cannot be made")


def test_a_finished_search_is_not_lost(tmp_path: Path) -> None:
    """The folder was there when the search began and is a file when it ends."""
    place = tmp_path / "folder"

    def spoil() -> None:
        for _ in range(1000):
            if place.is_dir():
                break
            time.sleep(0.01)
        time.sleep(0.1)  # until it has been tried
        place.rmdir()
        place.touch()

    thread = threading.Thread(target=spoil)
    thread.start()
    words = f"tune --limit 2 --trials 2 --device cpu -o {place}/p.json"
    done = CliRunner().invoke(app, words.split())
    thread.join()
    one_error(done, 2, "the folder cannot be made")
    assert json.loads(done.stdout)["search"]["trials"] == 2


def test_a_study_is_written(tmp_path: Path) -> None:
    command = ["tune", "--vlm", "micro-bridgetower", "--limit", "1", "--device", "cpu"]
    command += ["--thresholds", "0.05", "--blurs", "0.03,0.05", "--ablate", "scope", "--study"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "s.parquet")])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f"written: {tmp_path / 's.parquet'}"
    written = load_study(tmp_path / "s.parquet")
    assert len(written.images) == 1
    assert written.variants == ("paper", "scope=image")
    assert (written.space.thresholds, written.space.blurs) == ((0.05,), (0.03, 0.05))
    done = CliRunner().invoke(app, [*command, str(tmp_path / "s.csv")])
    one_error(done, 2, "rename it")
