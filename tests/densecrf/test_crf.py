"""The door: agreement with pydensecrf, batches, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from ovsslib.datasets import load_dataset
from ovsslib.densecrf import DenseCRF, unary_from_probabilities
from support.crf import energies, noise, reference
from support.helpers import ROOT, SHARED, needs_realdata

SETTINGS = {"gaussian_compat": 7, "bilateral_sxy": 50, "bilateral_srgb": 5, "bilateral_compat": 10}
CRF = DenseCRF(**SETTINGS)
GOLDEN = ROOT / "tests" / "golden" / "released_code" / "expected.safetensors"


def agree(unary: np.ndarray, image: np.ndarray) -> None:
    """Marginals within 1e-4 of pydensecrf's, and the same labels, but for rounding.

    Where two classes are nearly as likely, the iteration enlarges rounding. There, pydensecrf is
    off what the same formulas give in float64, too, by a tenth of the difference at least.
    """
    found, wanted = CRF(unary, image).numpy(), reference(unary, image)
    assert found.dtype == np.float32
    off = np.abs(found - wanted).max(0)
    assert (found.argmax(0) == wanted.argmax(0)).mean() >= 0.9995
    assert (off > 1e-4).mean() < 5e-4
    if off.max() > 1e-4:
        exact = CRF(unary.astype(np.float64), image).numpy()
        assert off.max() < 10 * np.abs(wanted - exact).max() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 9), (13, 8), (40, 50)])
@pytest.mark.parametrize("classes", [2, 5, 21])
def test_agreement_on_random_fields(size: tuple[int, int], classes: int) -> None:
    """Sizes that are no multiple of four among them; grey images have ties between axes."""
    agree(energies(classes, size), noise(size))
    agree(energies(classes, size, 1), noise(size, 1) // 32 * 2 + 100)
    agree(energies(classes, size, 2), np.repeat(noise(size, 2)[..., :1] // 8, 3, 2))


@pytest.mark.parametrize("size", [(1, 3), (2, 3), (7, 9), (13, 9)])
def test_the_black_pixels_that_fill_up_the_last_four_count(size: tuple[int, int]) -> None:
    """Of a dark image the vertices around them are neighbours of the image's own."""
    for seed, darker in itertools.product(range(4), (8, 16, 32)):
        agree(energies(3, size, seed), noise(size, seed) // darker)


@pytest.mark.parametrize("classes", [2, 6, 21])
def test_agreement_on_diorama(classes: int) -> None:
    diorama = load_dataset("diorama", None, "val")
    for index, name in enumerate(diorama.ids[:3]):
        image = np.asarray(diorama.image(name))
        agree(energies(classes, image.shape[:2], index), image)


@needs_realdata
def test_agreement_on_a_photograph() -> None:
    image = Image.open(SHARED / "photos" / "2007_000063.jpg").convert("RGB")
    pixels = np.asarray(image.resize((250, 188)))
    agree(energies(21, pixels.shape[:2]), pixels)


def test_agreement_on_the_golden_planes() -> None:
    expected = load_file(GOLDEN)
    for index in range(3):
        planes = expected[f"planes_{index}"]
        high = planes.max((1, 2), keepdims=True)
        probabilities = torch.from_numpy(planes / np.where(high > 0, high, 1)).softmax(0)
        agree(unary_from_probabilities(probabilities).numpy(), expected[f"photo_{index}"])


def test_beyond_rounding_nothing_differs() -> None:
    """In float64 the same lattice gives what both give in float32: neither is off by more."""
    unary, image = energies(5, (60, 80)), noise((60, 80)) // 8 + 90
    exact = CRF(unary.astype(np.float64), image).numpy()
    assert exact.dtype == np.float64
    assert np.abs(CRF(unary, image).numpy() - exact).max() < 1e-4
    assert np.abs(reference(unary, image) - exact).max() < 1e-4


def test_the_unary_is_that_of_pydensecrf() -> None:
    from pydensecrf.utils import unary_from_softmax

    share = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(0))
    share[0, 0, 0] = 0
    wanted = unary_from_softmax(share.numpy()).reshape(4, 5, 6)
    assert np.allclose(unary_from_probabilities(share).numpy(), wanted, atol=1e-6)


def test_other_settings_agree() -> None:
    crf = DenseCRF(2, 1.5, 9, 30, 4, iterations=3)
    unary, image = energies(3, (20, 30)), noise((20, 30))
    wanted = reference(unary, image, 3, (2, 1.5), (9, 30, 4))
    assert np.abs(crf(unary, image).numpy() - wanted).max() < 1e-5
    assert np.abs(wanted - CRF(unary, image).numpy()).max() > 0.01


@pytest.mark.parametrize("together", [True, False, None])
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_batch_equals_single_images(*, together: bool | None, deterministic: bool) -> None:
    shapes = [(3, (7, 9)), (6, (12, 5)), (1, (4, 4)), (3, (9, 7))]
    unaries = [energies(k, size, i) for i, (k, size) in enumerate(shapes)]
    images = [noise(size, i) for i, (_, size) in enumerate(shapes)]
    crf = DenseCRF(**SETTINGS, deterministic=deterministic)
    found = crf.batch(unaries, images, together=together)
    for one, unary, image in zip(found, unaries, images, strict=True):
        assert one.shape == unary.shape
        assert torch.allclose(one, crf(unary, image), atol=1e-6)
    assert crf.batch([], []) == []


def test_deterministic_says_how_sums_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are two ways: on devices other than a CPU."""
    from ovsslib.densecrf import crf as module

    ways = []
    field = module.mean_field

    def spy(*args: Any, bags: bool) -> torch.Tensor:
        ways.append(bags)
        return field(*args, bags=bags)

    monkeypatch.setattr(module, "mean_field", spy)
    unary, image = energies(2, (4, 5)), noise((4, 5))
    first = CRF(unary, image)
    monkeypatch.setattr(module, "in_order", lambda _: False)
    second = CRF(unary, image)
    third = DenseCRF(**SETTINGS, deterministic=True)(unary, image)
    assert ways == [True, False, True]
    assert torch.equal(first, third)
    assert torch.allclose(first, second, atol=1e-6)


def test_the_same_each_time() -> None:
    unary, image = energies(4, (30, 40)), noise((30, 40))
    assert torch.equal(CRF(unary, image), CRF(unary, image))


def test_gradients_reach_the_unary() -> None:
    unary = torch.from_numpy(energies(3, (5, 6))).double().requires_grad_()
    crf = DenseCRF(iterations=2)
    image = noise((5, 6))
    assert torch.autograd.gradcheck(lambda u: crf(u, image), (unary,), fast_mode=True)


GOOD = (np.zeros((2, 4, 5), np.float32), np.zeros((4, 5, 3), np.uint8))


@pytest.mark.parametrize(
    ("unary", "image", "message"),
    [
        (GOOD[0][0], GOOD[1], r"unary of shape \(4, 5\): give one of \(classes, H, W\)"),
        (GOOD[0][:0], GOOD[1], r"unary of shape \(0, 4, 5\)"),
        (GOOD[0], GOOD[1][1:], r"image of shape \(3, 5, 3\) for a unary of 4 x 5 pixels"),
        (GOOD[0], GOOD[1][..., 0], r"image of shape \(4, 5\)"),
        (GOOD[0] * np.nan, GOOD[1], "NaN or infinity"),
        (GOOD[0] + np.inf, GOOD[1], "NaN or infinity"),
        (GOOD[0], GOOD[1] - 1.0, "outside 0 to 255"),
        (GOOD[0], GOOD[1] + 256.0, "outside 0 to 255"),
        (GOOD[0], GOOD[1] * np.nan, "outside 0 to 255"),
    ],
)
def test_bad_input_is_refused_in_one_line(unary: Any, image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        CRF(unary, image)
    assert "\n" not in str(caught.value)


def test_bad_settings_and_numbers_of_images() -> None:
    for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
        for value in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"{name} must be a number above 0"):
                DenseCRF(**{name: value})
    for name in ("gaussian_compat", "bilateral_compat", "iterations"):
        with pytest.raises(ValueError, match=f"{name} must be a number of at least 0"):
            DenseCRF(**{name: -1})
    with pytest.raises(ValueError, match="2 unaries for 1 images"):
        CRF.batch([GOOD[0]] * 2, [GOOD[1]])
    with pytest.raises(ValueError, match="too small for this image"):
        DenseCRF(bilateral_srgb=1e-6)(energies(2, (9, 9)), noise((9, 9)))


def test_input_is_left_alone() -> None:
    unary, image = energies(3, (6, 7)), noise((6, 7))
    before = unary.copy(), image.copy()
    CRF(unary, image)
    assert (unary == before[0]).all()
    assert (image == before[1]).all()


def test_the_package_imports_nothing_of_the_rest() -> None:
    for path in (ROOT / "ovsslib" / "densecrf").glob("*.py"):
        for line in path.read_text().splitlines():
            if line.lstrip().startswith(("from ovsslib", "import ovsslib")):
                assert line.split()[1].startswith("ovsslib.densecrf"), line
            assert not line.lstrip().startswith(("from pydensecrf", "import pydensecrf"))
