"""`ovss vocabulary` on a few images."""

from __future__ import annotations

import json
from pathlib import Path

from support.helpers import one_error, ovss, write_voc

WORDS = ["vocabulary", "--method", "maskclip", "--split", "tune", "--limit", "2", "--draws", "1"]


def test_command(tmp_path: Path) -> None:
    words = [*WORDS, "--conditions", "wider,far", "--shares", "0.5", "--counts", "4,8"]
    done = ovss(*words, "--filter", "all", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    first, *lines = done.stdout.splitlines()
    assert first.startswith("maskclip with micro-clip on diorama tune (2 images, protocol pnp-")
    rows = [line.split() for line in lines[2:]]
    assert [row[:2] for row in rows[1:4]] == [["wider", "0.5"], ["far", "4"], ["far", "8"]]
    assert rows[0][0] == "plain"
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    assert rows[0][1] == f"{100 * record['runs']['plain']['count']['value']:.1f}"
    assert lines[-1] == f"written: {path}"
    lost = 100 * record["oracles"]["perfect names"]["background"]["value"]
    assert lines[-2].split() == [
        "perfect", "names", f"{100 * record['oracles']['perfect names']['count']['value']:.1f}",
        f"{lost:.1f}", "%",
    ]  # fmt: skip


def test_words_of_ones_own_and_json(tmp_path: Path) -> None:
    lists = tmp_path / "words"
    lists.mkdir()
    (lists / "synonyms.txt").write_text("bus: coach\nsky: heavens\n")
    words = [*WORDS, "--conditions", "synonym", "--shares", "1", "--words", lists, "--json"]
    done = ovss(*words, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["words"]["name"] == "words"
    assert record["runs"]["synonym 1 #0"]["vocabulary"]["renamed"] == 2


def test_an_unreadable_image_ends_in_1(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", 2)
    (root / "JPEGImages" / "img_0001.jpg").write_text("")
    words = ["vocabulary", "--method", "maskclip", "--root", root, "--conditions", "clutter"]
    one_error(ovss(*words, "--out", tmp_path / "out"), 1, "img_0001")


def test_what_it_refuses(tmp_path: Path) -> None:
    out = ["--out", tmp_path]
    one_error(ovss(*WORDS, "--conditions", "synonims", *out), 2, "did you mean 'synonym'")
    one_error(ovss(*WORDS, "--counts", "a", *out), 2, "--counts 'a'")
    one_error(ovss(*WORDS, "--shares", "2", *out), 2, "--shares '2'")
    one_error(ovss(*WORDS, "--shares", "0", *out), 2, "shares must be")


def test_help_has_examples() -> None:
    done = ovss("vocabulary", "--help")
    assert done.exit_code == 0
    assert "  ovss vocabulary --method maskclip" in done.output
