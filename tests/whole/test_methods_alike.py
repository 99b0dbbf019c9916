"""Every method on the same odd images and lists of names: the same kind of result, or one error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.methods import METHODS
from support import tiny_hub
from support.heads import TOWERS, make_head
from support.helpers import make_tiny_blip
from support.tiny_dino import make_tiny_dino

MAKERS: dict[str, tuple[Callable[[Path], Path], ...]] = {
    "pnp-ovss": (make_tiny_blip,),
    "groupvit": (tiny_hub.make_groupvit,),
    "ovsegmentor": (tiny_hub.make_groupvit,),
    "after-viewco": (tiny_hub.make_groupvit,),
    "tipsv2": (tiny_hub.make_tipsv2,),
    "siglip2": (tiny_hub.make_siglip,),
    "clipseg": (tiny_hub.make_clipseg,),
    "owlv2-sam2": (tiny_hub.make_owlv2, tiny_hub.make_sam2),
    "grounding-dino-sam2": (tiny_hub.make_grounding_dino, tiny_hub.make_sam2),
    "sam3": (tiny_hub.make_sam3,),
    **{tower.system: (make_head(tower),) for tower in TOWERS},
}
"""Methods that do not run on micro-clip, and small models for them."""
WITH_DINO = ("proxyclip", "lposs", "cass", "clip-dinoiser")
RNG = np.random.default_rng(0)
ENDINGS = {"animated": "gif", "cmyk": "tif"}
NOISE = RNG.integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture(scope="module", params=sorted(METHODS))
def method(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name, folder = request.param, tmp_path_factory.mktemp("models")
    made = [make(folder / str(index)) for index, make in enumerate(MAKERS.get(name, ()))]
    options: dict[str, Any] = {"vlm": "+".join(map(str, made)) or "micro-clip", "device": "cpu"}
    if name in WITH_DINO:
        options["dino"] = str(make_tiny_dino(folder / "dino"))
    if name == "reco":
        archive = folder / "archive"
        archive.mkdir()
        data = load_dataset("diorama", None, "tune")
        for each in data.ids[:6]:
            data.image(each).save(archive / f"{each}.png")
        options["archive"] = str(archive)
    if name == "pnp-ovss":
        options |= {"layer": 1, "head": 1, "crf": False}
    return ovsslib.load(name, **options)


def saved(folder: Path, kind: str) -> Path:
    """An image file of an unusual kind."""
    path = folder / f"image.{ENDINGS.get(kind, 'png')}"
    if kind == "grey":
        Image.fromarray(NOISE[..., 0]).save(path)
    elif kind == "cmyk":
        Image.fromarray(NOISE).convert("CMYK").save(path)
    elif kind == "sixteen bits":
        Image.fromarray(RNG.integers(0, 65536, (40, 60)).astype(np.uint16)).save(path)
    elif kind == "animated":
        frames = [Image.fromarray(each) for each in (NOISE, NOISE[::-1])]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def check(found: Any, size: tuple[int, int], names: list[str]) -> None:
    assert found.labels.shape == size
    assert found.labels.dtype == np.int16
    assert found.classes == tuple(names)
    assert found.planes.shape == (len(names), *size)
    assert np.isfinite(found.planes).all()
    assert -1 <= found.labels.min() <= found.labels.max() < len(names)
    assert len(found.scores) == len(names)


@pytest.mark.parametrize("kind", ["grey", "cmyk", "sixteen bits", "animated"])
def test_kinds_of_files(method: Any, tmp_path: Path, kind: str) -> None:
    names = ["bus", "sky"]
    check(method.segment(saved(tmp_path, kind), names), (40, 60), names)


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (3, 5), (1, 1)])
def test_sizes(method: Any, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    check(method.segment(pixels, ["bus", "sky"]), size, ["bus", "sky"])


@pytest.mark.parametrize("count", [0, 1, 500])
def test_numbers_of_names(method: Any, count: int) -> None:
    names = ["bus", "hot air balloon", *(f"thing {index}" for index in range(498))][:count]
    check(*method.segment_batch([NOISE], [names]), (40, 60), names)


def test_names_are_given_once_and_are_not_empty(method: Any) -> None:
    for names, message in (
        (["bus", "sky", "bus"], "'bus'"),
        (["bus", " "], "empty"),
        ([], "empty"),
    ):
        with pytest.raises(OvssError, match=message):
            method.segment(NOISE, names)


def test_what_is_no_image(method: Any, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"junk")
    with pytest.raises(OvssError, match=r"image\.png"):
        method.segment(tmp_path / "image.png", ["bus"])
    with pytest.raises(OvssError, match=r"none\.png"):
        method.segment(tmp_path / "none.png", ["bus"])
