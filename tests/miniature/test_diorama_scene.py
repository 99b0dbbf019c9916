"""Diorama: deterministic scenes, exact masks, VOC's layout, captions that are true."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ovsslib.cli.main import app
from ovsslib.errors import OvssError
from ovsslib.miniature.diorama.canvas import Canvas, Pen
from ovsslib.miniature.diorama.captions import describe, noticeable
from ovsslib.miniature.diorama.classes import CLASSES, STUFF, THINGS
from ovsslib.miniature.diorama.colours import COLOURS, HELD_OUT, PALETTE
from ovsslib.miniature.diorama.make import SPLIT_BASE, scene_seed, split_scene, write_split
from ovsslib.miniature.diorama.scene import VOID, Band, Item, Scene, compose, render
from ovsslib.miniature.diorama.stuff import TEXTURE
from ovsslib.miniature.diorama.things import DRAW
from support.helpers import ROOT


@pytest.mark.parametrize("name", THINGS)
@pytest.mark.parametrize("seed", range(3))
def test_a_thing_paints_exactly_the_pixels_of_its_mask(name, seed):
    empty = (1, 2, 3)
    for colour in COLOURS[name]:
        canvas = Canvas(200, 150, scale=1)
        canvas.polygon([(-1, -1), (201, -1), (201, 151), (-1, 151)], empty, 0)
        pen = Pen(canvas, 100, 130, 100, 7, flip=-1, tilt=0.05, stretch=1.1)
        DRAW[name](pen, PALETTE[colour], np.random.default_rng(seed))
        painted = np.any(np.asarray(canvas.picture) != empty, axis=-1)
        mine = canvas.instance_map() == 7
        # Edge lines are drawn on the border of a shape, half a line outside of it.
        grown = np.pad(mine, 1)
        grown = grown[2:, 1:-1] | grown[:-2, 1:-1] | grown[1:-1, 2:] | grown[1:-1, :-2] | mine
        assert mine.sum() > 500
        assert not np.any(mine & ~painted)
        assert not np.any(painted & ~grown)


def test_every_class_can_be_drawn():
    assert set(DRAW) == set(THINGS) == set(COLOURS)
    assert set(TEXTURE) == set(STUFF)
    assert len(CLASSES) == len(set(CLASSES)) == 20
    assert sum(" " in name for name in CLASSES) >= 4
    assert all(colour in COLOURS[thing] for colour, thing in HELD_OUT)


def test_void_lies_outside_of_things():
    item = Item("car", "red", 100, 130, 60, 1, 0.0, 1.0, "grass")
    scene = Scene(5, 200, 150, (Band("grass", "green", 0, 1),), (item,))
    _, mask = render(scene)
    grass, car = CLASSES.index("grass") + 1, CLASSES.index("car") + 1
    assert set(np.unique(mask)) == {grass, car, VOID}
    padded = np.pad(mask, 1, mode="edge")
    sides = [padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]]
    assert not np.any((mask == grass) & np.any([side == car for side in sides], axis=0))
    assert np.all(np.any([side == car for side in sides], axis=0)[mask == VOID])


def test_scenes_are_functions_of_their_seed():
    for close_up in (False, True):
        a, mask_a = render(compose(123, close_up=close_up))
        b, mask_b = render(compose(123, close_up=close_up))
        assert np.array_equal(np.asarray(a), np.asarray(b))
        assert np.array_equal(mask_a, mask_b)
    assert compose(1) != compose(2)


def test_scenes_vary_as_promised():
    scenes = [compose(seed) for seed in range(150)]
    shapes = {(s.width > s.height) - (s.width < s.height) for s in scenes}
    assert shapes == {-1, 0, 1}
    assert {item.name for s in scenes for item in s.things} == set(THINGS)
    assert {band.name for s in scenes for band in s.bands} == set(STUFF)
    assert any(len(s.items) > len(s.things) for s in scenes), "clutter"
    assert {len(s.things) for s in scenes} == {2, 3, 4}
    assert all(len(compose(seed, close_up=True).things) == 1 for seed in range(20))


def test_held_out_compositions_never_occur_in_training():
    def pairs(novel: bool) -> set[tuple[str, str]]:
        scenes = [compose(seed, novel=novel) for seed in range(400)]
        return {(item.colour, item.name) for scene in scenes for item in scene.things}

    assert not pairs(False) & HELD_OUT
    assert pairs(True) >= HELD_OUT


def test_only_the_novel_split_is_about_pairs_that_training_lacks():
    def share(split: str) -> float:
        scenes = [split_scene(split, 0, index) for index in range(60)]
        return np.mean([any((i.colour, i.name) in HELD_OUT for i in s.things) for s in scenes])

    assert share("novel") == 1
    assert 0.1 < share("val") < 0.6
    assert share("train") == share("heldout") == share("tune") == 0
    sizes = [len(split_scene("train", 0, index).things) for index in range(60)]
    assert all((n == 1) == (index % 2 == 0) for index, n in enumerate(sizes)), "close-ups"


def test_captions_are_true_partial_and_varied():
    texts: list[str] = []
    complete = 0
    for seed in range(80):
        scene = compose(seed)
        _, mask = render(scene, 1)
        seen = noticeable(mask)
        captions = describe(scene, seen)
        assert captions == describe(scene, seen)
        assert len(captions) == 8
        mentioned = {n for c in captions for n in CLASSES if re.search(rf"\b{n}\b", c)}
        assert mentioned <= seen
        complete += mentioned == seen
        for item in scene.things:
            for caption in captions:
                for colour in re.findall(rf"\b(\w+) {item.name}\b", caption):
                    assert colour not in COLOURS[item.name] or colour == item.colour
        texts += captions
    assert complete > 50, "together the captions name nearly everything"
    assert len(set(texts)) > 0.9 * len(texts)
    assert max(texts.count(t) for t in texts) < 6
    assert all(len(t.split()) <= 40 for t in texts)


def test_a_split_is_a_voc_tree(tmp_path):
    assert list(write_split(tmp_path, "val", 3)) == ["val_00000", "val_00001", "val_00002"]
    list(write_split(tmp_path, "tune", 2))
    lists = tmp_path / "ImageSets" / "Segmentation"
    assert (lists / "val.txt").read_text().split() == ["val_00000", "val_00001", "val_00002"]
    records = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert [r["split"] for r in records] == ["val"] * 3 + ["tune"] * 2
    assert all(len(r["captions"]) == 8 for r in records)
    for record in records:
        label = Image.open(tmp_path / "SegmentationClass" / f"{record['id']}.png")
        picture = Image.open(tmp_path / "JPEGImages" / f"{record['id']}.jpg")
        assert label.mode == "P"
        assert label.size == picture.size
        assert set(np.unique(np.asarray(label))) <= {*range(21), VOID}
    again = (tmp_path / "JPEGImages" / "val_00001.jpg").read_bytes()
    list(write_split(tmp_path, "val", 2))
    assert (tmp_path / "JPEGImages" / "val_00001.jpg").read_bytes() == again
    assert len((tmp_path / "captions.jsonl").read_text().splitlines()) == 4


def test_the_shipped_split_is_what_the_code_draws():
    root = ROOT / "data" / "diorama" / "SegmentationClass"
    for split in ("val", "tune"):
        _, mask = render(split_scene(split, 0, 17))
        assert np.array_equal(np.asarray(Image.open(root / f"{split}_00017.png")), mask)


def test_splits_never_share_a_seed():
    starts = sorted(SPLIT_BASE.values())
    assert min(b - a for a, b in pairwise(starts)) >= 1_000_000
    with pytest.raises(OvssError, match="unknown Diorama split 'vall'"):
        scene_seed("vall", 0, 0)


def test_command_line_makes_a_split(tmp_path):
    out = tmp_path / "d"
    done = CliRunner().invoke(
        app, ["diorama", "make", "--n", "1", "--seed", "3", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert (out / "JPEGImages" / "val_00000.jpg").exists()
    bad = CliRunner().invoke(app, ["diorama", "make", "--split", "nosuch", "--out", str(out)])
    assert bad.exit_code == 2
