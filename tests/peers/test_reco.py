"""ReCo against the formula: image by image, patch by patch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.peers.archive import diorama_images, open_archive
from ovsslib.peers.reco import ReCo, ReCoConfig, cosegment
from ovsslib.peers.tower import Tower
from ovsslib.protocols.protocol import get_protocol
from support.towers import make_hub_clip, micro, naive, some_pixels

DATA = load_dataset("diorama", None, "tune")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of Diorama's train split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVSS_CACHE", str(tmp_path_factory.mktemp("drawn")))
        return diorama_images(12)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def naive_cosegment(looks: Tensor, weights: Tensor) -> Tensor:
    """What images have in common, patch by patch and image by image."""
    many = np.asarray(looks.double())
    seeds = []
    for image in many:
        support = []
        for patch in image:
            per_image = []
            for other, weight in zip(many, weights.tolist(), strict=True):
                likeness = (other @ patch).tolist()
                per_image.append(max(a * b for a, b in zip(likeness, weight, strict=True)))
            support.append(sum(per_image) / len(per_image))
        seeds.append(image[support.index(max(support))])
    mean = sum(seeds) / len(seeds)
    return torch.tensor(mean / np.linalg.norm(mean), dtype=torch.float32)


def naive_looks(tower: Tower, pixels: Tensor) -> Tensor:
    vision = tower.model.visual
    with torch.no_grad():
        tokens = vision._embeds(pixels)
        for block in vision.transformer.resblocks[:-1]:
            tokens = block(tokens)
    return tokens[:, 1:] / tokens[:, 1:].norm(dim=2, keepdim=True)


def naive_reference(
    tower: Tower, folder: Path, text: Tensor, count: int, contexts: list[Tensor]
) -> Tensor:
    paths = sorted(folder.iterdir())
    pixels = tower.prepare([Image.open(path) for path in paths])
    with torch.no_grad():
        whole = tower.model.encode_image(pixels, normalize=True)
    order = sorted(range(len(paths)), key=lambda row: -float(whole[row] @ text))[:count]
    looks = naive_looks(tower, pixels[order])
    dense = naive(tower, pixels[order], lambda q, k, v: v)
    weights = torch.zeros(looks.shape[:2])
    for image in range(len(order)):
        for patch in range(looks.shape[1]):
            weight = sigmoid(10 * float(dense[image, patch] @ text))
            for context in contexts:
                weight *= 1 - sigmoid(float(looks[image, patch] @ context))
            weights[image, patch] = weight
    return naive_cosegment(looks, weights)


@pytest.mark.parametrize(("images", "patches"), [(1, 5), (2, 1), (4, 9)])
def test_cosegmentation(images: int, patches: int) -> None:
    looks = torch.nn.functional.normalize(torch.randn(images, patches, 6), dim=-1)
    weights = torch.rand(images, patches)
    expected = naive_cosegment(looks, weights)
    assert torch.allclose(cosegment(looks, weights), expected, atol=1e-5)


def test_what_most_images_share_wins_unless_it_counts_less() -> None:
    sky, dog = torch.eye(4)[:2]
    rest = torch.eye(4)[2:]
    looks = torch.stack([torch.stack([sky, dog, rest[index % 2]]) for index in range(4)])
    even = torch.ones(4, 3)
    assert torch.equal(cosegment(looks, even), sky)  # the first of two that all images share
    assert torch.equal(cosegment(looks, even * torch.tensor([0.5, 1.0, 1.0])), dog)


@pytest.mark.parametrize("contexts", [(), ("sky", "tree")])
def test_planes_against_the_formula(archive: Path, contexts: tuple[str, ...]) -> None:
    tower = micro()
    settings = {"archive": str(archive), "retrieved": 3, "contexts": contexts}
    model = ReCo(tower, ReCoConfig(**settings))
    names = ["house", "sky", "grass"]
    texts, eliminated = (
        tower.texts(each, model.sentences()) if each else [] for each in (names, contexts)
    )
    known: list[Tensor] = []
    for text in eliminated:
        known.append(naive_reference(tower, archive, text, 3, known))
    pixels = some_pixels(tower, 1)
    looks, dense = naive_looks(tower, pixels)[0], naive(tower, pixels, lambda q, k, v: v)[0]
    side = math.isqrt(len(looks))
    expected = torch.zeros(len(names), side, side)
    for row, (name, text) in enumerate(zip(names, texts, strict=True)):
        if name in contexts:
            reference = known[contexts.index(name)]
        else:
            reference = naive_reference(tower, archive, text, 3, known)
        for patch in range(len(looks)):
            score = sigmoid(float(looks[patch] @ reference))
            score *= sigmoid(10 * float(dense[patch] @ text))
            expected[row, patch // side, patch % side] = score
    with torch.no_grad():
        (found,) = model.planes(pixels, [texts])
    assert torch.allclose(found, expected, atol=1e-5)


def test_contexts_and_settings_change_references(archive: Path) -> None:
    tower = micro()
    text = tower.texts(["house"], ReCo(tower).sentences())

    def reference(**settings: object) -> Tensor:
        given = {"archive": str(archive), "retrieved": 4, "contexts": ()} | settings
        with torch.no_grad():
            return ReCo(tower, ReCoConfig(**given)).references(text)[0]

    base = reference()
    assert base.norm() == pytest.approx(1)
    assert not torch.allclose(reference(retrieved=12), base, atol=1e-3)
    assert not torch.allclose(reference(contexts=["sky", "grass"]), base, atol=1e-3)
    assert torch.equal(reference(retrieved=12), reference(retrieved=500))


def test_segments_as_any_method_does(archive: Path) -> None:
    model = ovsslib.load("reco", archive=str(archive), retrieved=4, device="cpu")
    images = [DATA.image(DATA.ids[0]), Image.new("L", (40, 9), 90), DATA.image(DATA.ids[1])]
    first, grey, none = model.segment_batch(images, [["sky", "grass"], ["sky"], []])
    assert first.labels.shape == (images[0].height, images[0].width)
    assert (first.labels == first.planes.argmax(0)).all()
    assert 0 < first.planes.min() < first.planes.max() < 1
    assert (grey.labels == 0).all()
    assert (none.labels == -1).all()
    assert model.segment(images[0], ["sky", "grass"]).planes == pytest.approx(
        first.planes, abs=1e-5
    )
    refined = ovsslib.load("reco", archive=str(archive), retrieved=4, pamr=2)
    assert (refined.segment(images[0], ["sky", "grass"]).labels != first.labels).any()


def test_archive_and_references_are_looked_up_once(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovsslib.peers import reco

    opened, shared = [], []

    def counted_open(*args: object) -> object:
        opened.append(args)
        return open_archive(*args)

    def counted_cosegment(*args: Tensor) -> Tensor:
        shared.append(args)
        return cosegment(*args)

    monkeypatch.setattr(reco, "open_archive", counted_open)
    monkeypatch.setattr(reco, "cosegment", counted_cosegment)
    model = ovsslib.load("reco", archive=str(archive), retrieved=2, contexts=["sky"])
    assert not opened  # before there is an image
    for names in (["sky", "grass"], ["grass", "house"], ["house"]):
        model.segment(DATA.image(DATA.ids[0]), names)
    assert len(opened) == 1
    assert len(shared) == 3
    # A protocol's sentences give other texts, and so other references, from the same archive.
    other = model.for_protocol(get_protocol("tcl"))
    other.segment(DATA.image(DATA.ids[0]), ["grass"])
    assert len(opened) == 1
    assert len(shared) == 5


def test_a_model_of_transformers_and_diorama_by_itself(tmp_path: Path) -> None:
    model = ovsslib.load(
        "reco", vlm=str(make_hub_clip(tmp_path / "hub")), drawn=4, retrieved=2, contexts=[]
    )
    found = model.segment(DATA.image(DATA.ids[0]), ["sky", "grass"])
    assert found.planes.shape[0] == 2
    assert model.archive.names == tuple(f"train_{index:05d}.jpg" for index in range(4))


def test_what_it_refuses(tmp_path: Path) -> None:
    model = ovsslib.load("reco", archive=str(tmp_path / "gone"))
    with pytest.raises(OvssError, match="there is no such folder; name one with images"):
        model.segment(DATA.image(DATA.ids[0]), ["sky"])
    with pytest.raises(OvssError, match="contexts"):
        ReCoConfig(contexts="sky")  # type: ignore[arg-type]
    with pytest.raises(OvssError, match="retrieved must be int >= 1"):
        ReCoConfig(retrieved=0)
    assert ReCoConfig(contexts=["a"]).to_dict()["contexts"] == ["a"]  # type: ignore[arg-type]
