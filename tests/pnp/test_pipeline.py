"""The five steps together, on a tiny random BLIP."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.pnp import dropout
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS, build, prompts_for
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Segmentation
from ovsslib.pnp.salience import attention_gradient, class_maps, gradcam_map
from ovsslib.vlm import load_vlm
from ovsslib.vlm.blip.matcher import BlipMatcher
from support.helpers import tiny_blip, write_photo  # noqa: F401 - one is a fixture

NAMES = ["car", "traffic light", "street light", "hot air balloon", "sky", "cat"]
CONFIG = PnPConfig(layer=1, head=2, rounds=3, patches_per_round=6)


@pytest.fixture(scope="module")
def matcher(tiny_blip: Path) -> BlipMatcher:  # noqa: F811
    matcher = load_vlm(tiny_blip, "cpu")
    assert isinstance(matcher, BlipMatcher)
    generator = torch.Generator().manual_seed(3)
    for weight in matcher.model.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return matcher


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(60, 80), (80, 60), (64, 64)]
    out = []
    for height, width in sizes:
        small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        out.append(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)))
    return out


def same(one: Segmentation, two: Segmentation) -> bool:
    return (
        one.classes == two.classes
        and bool((one.labels == two.labels).all())
        and np.allclose(one.planes, two.planes, atol=2e-3)
        and abs(one.match - two.match) < 1e-5
    )


def test_segment_gives_what_it_says(matcher: BlipMatcher, photos: list[np.ndarray]) -> None:
    result = PnPOVSS(matcher, CONFIG).segment(photos[0], NAMES)
    assert result.classes == tuple(NAMES)
    assert result.labels.shape == (60, 80)
    assert result.labels.dtype == np.int16
    assert result.planes.shape == (6, 60, 80)
    assert result.planes.dtype == np.float32
    assert (result.image == photos[0]).all()
    assert 0 < result.match < 1
    assert result.stages is None
    assert len(np.unique(result.labels)) > 2
    for index, score in enumerate(result.scores):
        assert (score > 0) == bool((result.labels == index).any())


def test_path_picture_and_array_are_one(matcher: BlipMatcher, tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.png")
    model = PnPOVSS(matcher, CONFIG)
    results = [
        model.segment(image, NAMES[:2])
        for image in (path, str(path), Image.open(path), np.asarray(Image.open(path)))
    ]
    assert all(same(results[0], other) for other in results[1:])


@pytest.mark.parametrize("salience", ["gradcam", "attention", "random"])
def test_batch_equals_single(matcher: BlipMatcher, photos: list[np.ndarray], salience: str) -> None:
    model = PnPOVSS(matcher, CONFIG.replace(salience=salience))
    classes = [NAMES[:1], [], NAMES]
    together = model.segment_batch(photos, classes)
    assert (together[1].labels == -1).all()
    for photo, names, result in zip(photos, classes, together, strict=True):
        assert same(result, model.segment_batch([photo], [names])[0])


@pytest.mark.parametrize("salience", ["gradcam", "attention", "random"])
def test_stages(matcher: BlipMatcher, photos: list[np.ndarray], salience: str) -> None:
    config = CONFIG.replace(salience=salience)
    stages = PnPOVSS(matcher, config).segment(photos[0], NAMES, stages=True).stages
    assert stages is not None
    small, full = (6, 12, 12), (7, 60, 80)
    shapes = {
        "attention": small, "gradcam": small, "rounds": (3, *small), "dropped": (3, 12, 12),
        "sum": small, "thresholded": small, "planes": full, "blurred": full, "crf": full,
    }  # fmt: skip
    if salience != "gradcam":
        del shapes["gradcam"]
    assert {name: array.shape for name, array in stages.items()} == shapes
    assert np.allclose(stages["rounds"].sum(0), stages["sum"], atol=1e-7)
    dropped = stages["dropped"]
    assert [int(mask.sum()) for mask in dropped] == [0, 6, 12]
    assert (dropped[1] <= dropped[2]).all()
    assert (stages["rounds"].max(axis=1)[dropped] == 0).all()
    assert (stages["attention"] > 0).all()
    assert stages["attention"].sum(axis=(1, 2)).max() < 1
    if salience == "attention":
        assert np.array_equal(stages["rounds"][0], stages["attention"])


def test_maps_are_the_sum_of_pure_steps(matcher: BlipMatcher, photos: list[np.ndarray]) -> None:
    """The pipeline against the same steps written out by hand."""
    pixels = matcher.preprocess([Image.fromarray(photos[0])])
    text = matcher.tokenize("A picture of cat sky")
    black = -torch.tensor(matcher.image_mean) / torch.tensor(matcher.image_std)
    total, gone = np.zeros((2, 144)), np.zeros(144, bool)
    for _ in range(3):
        seen = dropout.black_out(pixels, gone.reshape(1, 12, 12), black)
        match = matcher.match(matcher.encode_images(seen), [text], 1, gradient=True)
        found = gradcam_map(match.attention, attention_gradient(match), 2)[0]
        maps = np.where(gone, 0, class_maps(found, [(4,), (5,)]).numpy())
        total += maps
        gone[np.argsort(-maps.sum(0), kind="stable")[:6]] = True
    got = PnPOVSS(matcher, CONFIG).maps([photos[0]], [["cat", "sky"]])[0]
    assert np.allclose(got.maps.reshape(2, -1), total, rtol=1e-4, atol=1e-8)


def test_maps_then_refine_is_segment(matcher: BlipMatcher, photos: list[np.ndarray]) -> None:
    model = PnPOVSS(matcher, CONFIG)
    found = model.maps(photos, [NAMES[:2]] * 3)
    results = model.segment_batch(photos, [NAMES[:2]] * 3)
    assert all(same(refine_maps(m, CONFIG), r) for m, r in zip(found, results, strict=True))


@given(st.permutations(range(len(NAMES))))
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_order_never_mixes_names_up(
    matcher: BlipMatcher, photos: list[np.ndarray], order: list[int]
) -> None:
    # One name per prompt: then a class's map does not depend on the order at all, and whatever
    # order the names come in, each name must keep its own pixels.
    config = CONFIG.replace(classes_per_prompt=1, rounds=1)
    model = PnPOVSS(matcher, config)
    plain = model.segment(photos[0], NAMES)
    other = model.segment(photos[0], [NAMES[index] for index in order])
    by_name = np.array([*NAMES, "-"])[plain.labels]
    also_by_name = np.array([*(NAMES[index] for index in order), "-"])[other.labels]
    assert (by_name == also_by_name).mean() > 0.999
    assert np.allclose(plain.planes[order], other.planes, atol=1e-3)


def test_order_changes_the_prompt_only_a_little(
    matcher: BlipMatcher, photos: list[np.ndarray]
) -> None:
    model = PnPOVSS(matcher, CONFIG.replace(rounds=1, salience="attention"))
    plain = model.maps([photos[0]], [NAMES[:3]])[0].maps
    for order in itertools.permutations(range(3)):
        other = model.maps([photos[0]], [[NAMES[index] for index in order]])[0].maps
        back = other[np.argsort(order)]
        for one, two in zip(plain, back, strict=True):
            assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.5


def test_prompts_are_split_when_positions_run_out(
    matcher: BlipMatcher, photos: list[np.ndarray]
) -> None:
    names = [f"cat {letter}{digit}" for letter in "abcdefgh" for digit in range(8)][:60]
    model = PnPOVSS(matcher, CONFIG)
    assert len(prompts_for(matcher, CONFIG, names)) > 1
    result = model.segment(photos[0], names, stages=True)
    assert result.planes.shape[0] == 60
    assert result.stages is not None
    # All rows of the image share one set of dropped patches.
    assert result.stages["dropped"].shape == (3, 12, 12)
    assert (result.stages["sum"].max(axis=(1, 2)) > 0).sum() > 30


def test_head_none_is_the_mean_over_heads(matcher: BlipMatcher, photos: list[np.ndarray]) -> None:
    def maps(head: int | None) -> np.ndarray:
        config = CONFIG.replace(head=head, rounds=1)
        return PnPOVSS(matcher, config).maps([photos[0]], [NAMES[:2]])[0].maps

    heads = [maps(head) for head in range(1, 5)]
    assert np.allclose(maps(None), np.mean(heads, axis=0), atol=1e-7)


def test_released_deviations_change_the_maps(
    matcher: BlipMatcher, photos: list[np.ndarray]
) -> None:
    def maps(**fields: object) -> np.ndarray:
        model = PnPOVSS(matcher, CONFIG.replace(**fields))
        # A single short prompt beside a long one, so that drop_sep has something to do.
        return model.maps(photos[:2], [["car", "traffic light"], NAMES])[0].maps

    plain = maps()
    for fields in ({"last_name": "sum"}, {"name_spaces": False}, {"drop_value": "mean"},
                   {"round0_twice": True}, {"score": "margin"}, {"prompt": "the"}):  # fmt: skip
        assert not np.allclose(maps(**fields), plain, rtol=1e-3), fields
    twice = maps(round0_twice=True, rounds=1)
    assert np.allclose(twice, 2 * maps(rounds=1), rtol=1e-5)


def test_random_salience_is_seeded_and_knows_nothing(
    matcher: BlipMatcher, photos: list[np.ndarray]
) -> None:
    def maps(photo: np.ndarray, seed: int = 0) -> np.ndarray:
        config = CONFIG.replace(salience="random", rounds=1, seed=seed)
        return PnPOVSS(matcher, config).maps([photo], [NAMES])[0].maps

    assert np.array_equal(maps(photos[0]), maps(photos[0]))
    assert not np.array_equal(maps(photos[0]), maps(photos[0], seed=1))
    assert not np.array_equal(maps(photos[0]), maps(photos[2]))


def test_attention_needs_no_gradient(
    matcher: BlipMatcher, photos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a gradient was computed")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    config = CONFIG.replace(salience="attention")
    PnPOVSS(matcher, config).segment(photos[0], NAMES)
    with pytest.raises(AssertionError, match="a gradient was computed"):
        PnPOVSS(matcher, CONFIG).segment(photos[0], NAMES)


def test_arguments_and_model_are_left_alone(matcher: BlipMatcher, photos: list[np.ndarray]) -> None:
    before = [photo.copy() for photo in photos]
    weights = {name: value.clone() for name, value in matcher.model.state_dict().items()}
    classes = [list(NAMES) for _ in photos]
    PnPOVSS(matcher, CONFIG).segment_batch(photos, classes)
    assert all((one == two).all() for one, two in zip(photos, before, strict=True))
    assert classes == [NAMES] * 3
    assert all(
        torch.equal(value, weights[name]) for name, value in matcher.model.state_dict().items()
    )


def test_other_image_size_and_unknown_characters(
    matcher: BlipMatcher, photos: list[np.ndarray]
) -> None:
    with pytest.warns(UserWarning, match="outside the model's vocabulary"):
        found = PnPOVSS(matcher, CONFIG.replace(image_size=64)).maps([photos[0]], [["cat", "猫"]])
    assert found[0].maps.shape == (2, 8, 8)


def test_one_pixel_picture(matcher: BlipMatcher) -> None:
    result = PnPOVSS(matcher, CONFIG).segment(np.zeros((1, 1, 3), np.uint8), ["cat"])
    assert result.labels.shape == (1, 1)


def test_user_errors(matcher: BlipMatcher, photos: list[np.ndarray]) -> None:
    model = PnPOVSS(matcher, CONFIG)
    with pytest.raises(OvssError, match="list of classes is empty"):
        model.segment(photos[0], [])
    with pytest.raises(OvssError, match="given twice"):
        model.segment_batch(photos[:1], [["cat", "cat"]])
    with pytest.raises(OvssError, match="2 images but 1 lists of classes"):
        model.segment_batch(photos[:2], [["cat"]])
    with pytest.raises(OvssError, match="no such file"):
        model.segment("nowhere.jpg", ["cat"])
    with pytest.raises(OvssError, match=r"layer 8 does not exist; .* has 1 to 2"):
        PnPOVSS(matcher, CONFIG.replace(layer=8))
    with pytest.raises(OvssError, match=r"head 5 does not exist; .* has 1 to 4"):
        PnPOVSS(matcher, CONFIG.replace(head=5))


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        (None, None, "a batch is a list of images, got NoneType"),
        ("photo.jpg", [["cat"]], "a batch is a list of images, got str"),
        (b"bytes", [["cat"]], "a batch is a list of images, got bytes"),
        (Image.new("RGB", (4, 4)), [["cat"]], "a batch is a list of images, got Image"),
        ([], 3, "a batch is a list of lists of classes, got int"),
        ([Image.new("RGB", (4, 4))], ["cat"], "got the single string 'cat'"),
        ([Image.new("RGB", (4, 4))], [None], "must be a list of names, got NoneType"),
    ],
)
def test_what_is_no_batch(
    matcher: BlipMatcher, images: object, classes: object, words: str
) -> None:
    with pytest.raises(OvssError, match=words):
        PnPOVSS(matcher, CONFIG).segment_batch(images, classes)  # type: ignore[arg-type]


def test_generators_are_batches(matcher: BlipMatcher, photos: list[np.ndarray]) -> None:
    """A class list that is a generator used to give an image without a class, in silence."""
    model = PnPOVSS(matcher, CONFIG)
    (wanted,) = model.segment_batch(photos[:1], [NAMES])
    (result,) = model.segment_batch(iter(photos[:1]), ((name for name in NAMES) for _ in "1"))
    assert same(wanted, result)
    assert same(wanted, model.segment(torch.tensor(photos[0]).permute(2, 0, 1), iter(NAMES)))


def test_load_takes_models_and_presets_only() -> None:
    for vlm in (None, 3, b"micro-blip", ["micro-blip"], torch.nn.Linear(1, 1)):
        with pytest.raises(OvssError, match="vlm must be a name, a folder or a loaded model"):
            ovsslib.load("pnp-ovss", vlm=vlm)
    for preset in (3, ["blip"], b"blip", "", {}):
        with pytest.raises(OvssError, match="unknown preset"):
            ovsslib.load("pnp-ovss", preset=preset)


def test_load(tiny_blip: Path, matcher: BlipMatcher) -> None:  # noqa: F811
    model = ovsslib.load("pnp-ovss", vlm=tiny_blip, device="cpu", layer=1, head=None, crf=False)
    assert model.name == "pnp-ovss"
    assert (model.config.layer, model.config.head, model.config.crf) == (1, None, False)
    released = build(matcher, preset="released-code", layer=2, head=1)
    assert released.config.round0_twice
    # A mistyped setting is found before any model is looked for.
    with pytest.raises(OvssError, match="unknown setting 'treshold'; did you mean 'threshold'"):
        ovsslib.load("pnp-ovss", vlm="nobody/nothing", treshold=0.1)


def test_empty_batch(matcher: BlipMatcher) -> None:
    assert PnPOVSS(matcher, CONFIG).segment_batch([], []) == []
