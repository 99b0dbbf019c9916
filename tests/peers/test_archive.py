"""An archive of images: what is retrieved, and when its index is made anew."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.miniature.diorama.make import write_split
from ovsslib.peers import archive as module
from ovsslib.peers.archive import Archive, diorama_images, open_archive
from ovsslib.peers.tower import Tower
from ovsslib.vlm.weights import weights_digest
from support.towers import make_hub_clip, micro


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OVSS_CACHE", str(folder))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images of one colour each, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index in range(6):
        below = folder / "more" if index == 3 else folder
        colour = (40 * index, 255 - 40 * index, 30 * index)
        Image.new("RGB", (30 + index, 20), colour).save(below / f"{index}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through CLIP each time."""
    seen: list[int] = []
    whole = module.image_features

    def counted(tower: Tower, images: list[Image.Image]) -> torch.Tensor:
        seen.append(len(images))
        return whole(tower, images)

    monkeypatch.setattr(module, "image_features", counted)
    return seen


NAMES = ("0.png", "1.png", "2.png", "4.png", "5.png", "more/3.png")


def test_features_are_those_of_the_whole_model(cache: Path, photos: Path) -> None:
    tower = micro()
    found = open_archive(photos, tower)
    assert found.names == NAMES
    pixels = tower.prepare([Image.open(photos / name) for name in NAMES])
    with torch.no_grad():
        expected = tower.model.encode_image(pixels, normalize=True)
    assert torch.allclose(found.features, expected, atol=1e-5)
    assert [image.size for image in found.images(["more/3.png", "0.png"])] == [(33, 20), (30, 20)]


def test_a_model_of_transformers(cache: Path, photos: Path, tmp_path: Path) -> None:
    tower = Tower(str(make_hub_clip(tmp_path / "hub")), "cpu")
    found = open_archive(photos, tower)
    pixels = tower.prepare([Image.open(photos / name) for name in NAMES])
    with torch.no_grad():
        expected = tower.model.get_image_features(pixels).pooler_output
    expected = expected / expected.norm(dim=1, keepdim=True)
    assert torch.allclose(found.features, expected, atol=1e-5)


def test_the_likest_come_first() -> None:
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
    archive = Archive(Path(), ("a", "b", "c", "d", "e"), features)
    assert archive.nearest(torch.tensor([0.0, 1.0]), 3) == ["c", "b", "e"]
    assert archive.nearest(torch.tensor([-1.0, 0.0]), 9) == ["d", "c", "b", "e", "a"]


def changed(what: str, photos: Path) -> None:
    """Change an archive in one way."""
    if what == "another image":
        Image.new("RGB", (9, 9)).save(photos / "9.png")
    elif what == "one less":
        (photos / "1.png").unlink()
    elif what == "another size":
        Image.new("RGB", (300, 200)).save(photos / "1.png")
    else:
        (photos / "1.png").rename(photos / "7.png")


def test_the_index_is_read_again(cache: Path, photos: Path, passes: list[int]) -> None:
    tower = micro()
    first = open_archive(photos, tower)
    assert passes == [6]
    (index,) = (cache / "archives").iterdir()
    again = open_archive(photos, tower)
    assert passes == [6]
    assert again.names == first.names
    assert torch.equal(again.features, first.features)
    (facts, names), features = np.load(index)["texts"].tolist(), np.load(index)["features"]
    record = json.loads(facts)
    assert record["version"] == module.VERSION
    assert record["weights"] == weights_digest(tower.model)
    assert record["files"] == [[name, (photos / name).stat().st_size] for name in NAMES]
    assert json.loads(names) == list(NAMES)
    assert features.shape == (6, 128)


@pytest.mark.parametrize("what", ["another image", "one less", "another size", "another name"])
def test_a_changed_folder_has_a_new_index(
    what: str, cache: Path, photos: Path, passes: list[int]
) -> None:
    tower = micro()
    open_archive(photos, tower)
    changed(what, photos)
    with warnings.catch_warnings(action="error"):
        found = open_archive(photos, tower)
    assert len(passes) == 2
    assert len(found.names) == len(found.features) == passes[1]
    assert len(list((cache / "archives").iterdir())) == 1


def test_so_have_another_model_and_another_version(
    cache: Path, photos: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = micro()
    before = open_archive(photos, tower)
    with torch.no_grad():
        tower.model.visual.proj[:, 3].mul_(1.5)
    after = open_archive(photos, tower)
    assert passes == [6, 6]
    assert not torch.allclose(before.features, after.features, atol=1e-3)
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    open_archive(photos, tower)
    assert passes == [6, 6, 6]


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def not_finite(path: Path) -> None:
    stored = dict(np.load(path))
    stored["features"][2, 5] = np.nan
    np.savez(path, **stored)


def too_few(path: Path) -> None:
    stored = dict(np.load(path))
    np.savez(path, **stored | {"features": stored["features"][:2]})


def other_content(path: Path) -> None:
    np.savez(path, other=np.zeros(3))


@pytest.mark.parametrize("damage", [cut_short, one_bit, not_finite, too_few, other_content])
def test_a_damaged_index_is_made_anew_with_a_note(
    damage: Callable[[Path], None], cache: Path, photos: Path, passes: list[int]
) -> None:
    tower = micro()
    before = open_archive(photos, tower)
    (index,) = (cache / "archives").iterdir()
    damage(index)
    with pytest.warns(UserWarning, match=r"index is damaged \([^\n]+\); it is made anew$"):
        after = open_archive(photos, tower)
    assert torch.equal(before.features, after.features)
    with warnings.catch_warnings(action="error"):
        open_archive(photos, tower)
    assert passes == [6, 6]


def test_an_index_that_cannot_be_replaced_stays_whole(
    cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = micro()
    open_archive(photos, tower)
    (index,) = (cache / "archives").iterdir()
    before = index.read_bytes()
    changed("one less", photos)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OvssError, match="No space left on device"):
        open_archive(photos, tower)
    assert index.read_bytes() == before
    assert list((cache / "archives").iterdir()) == [index]


def test_what_is_no_image_is_left_out(cache: Path, photos: Path) -> None:
    (photos / "2.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"1 images of the archive were left out: .*2\.png"):
        found = open_archive(photos, micro())
    assert found.names == tuple(name for name in NAMES if name != "2.png")
    for name in NAMES:
        (photos / name).write_bytes(b"no image")
    with pytest.raises(OvssError, match=r"no image of the archive can be read \(.*0\.png"):
        open_archive(photos, micro())


def test_folders_that_are_none(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(OvssError, match="there is no such folder"):
        open_archive(tmp_path / "gone", micro())
    (tmp_path / "empty").mkdir()
    with pytest.raises(OvssError, match="holds no image"):
        open_archive(tmp_path / "empty", micro())


def test_images_of_diorama_are_those_of_its_train_split(cache: Path, tmp_path: Path) -> None:
    folder = diorama_images(3)
    names = [f"train_{index:05d}.jpg" for index in range(3)]
    assert sorted(path.name for path in folder.rglob("*")) == names
    assert folder.is_relative_to(cache)
    list(write_split(tmp_path / "drawn", "train", 3))
    for name in names:
        drawn = (tmp_path / "drawn" / "JPEGImages" / name).read_bytes()
        assert (folder / name).read_bytes() == drawn
    # They are drawn once, whole or not at all.
    (folder / names[0]).write_bytes(b"mine")
    assert diorama_images(3) == folder
    assert (folder / names[0]).read_bytes() == b"mine"
    assert list((cache / "archives").iterdir()) == [folder]


def test_images_that_cannot_be_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OvssError, match=r"No space left on device\); free the space or set"):
        diorama_images(2)
    assert list((cache / "archives").iterdir()) == []


def test_another_process_may_be_faster(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = shutil.copytree(diorama_images(2), cache / "theirs")
    shutil.rmtree(folder := diorama_images(2))
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        shutil.copytree(theirs, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert diorama_images(2) == folder
    assert list((cache / "archives").iterdir()) == [folder]
