"""Pixel-adaptive mask refinement, against one loop over pixels written from the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.pnp.pamr import TCL_DILATIONS, affinity, pamr


def around(row: int, column: int, dilations: tuple[int, ...]) -> list[tuple[int, int]]:
    """Places of the neighbours of a pixel; they may lie outside the image."""
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return [(row + y * d, column + x * d) for d in dilations for y, x in steps]


def naive(
    planes: np.ndarray, image: np.ndarray, iterations: int, dilations: tuple[int, ...]
) -> np.ndarray:
    """PAMR in double precision, pixel by pixel."""
    channels, height, width = image.shape

    def value(array: np.ndarray, place: tuple[int, int]) -> np.ndarray:
        return array[:, min(max(place[0], 0), height - 1), min(max(place[1], 0), width - 1)]

    weights = {}
    for row in range(height):
        for column in range(width):
            own = image[:, row, column]
            others = [value(image, place) for place in around(row, column, dilations)]
            spread = np.std([own] * len(dilations) + others, axis=0, ddof=1)
            scores = [
                -sum(abs(own[c] - other[c]) / (0.1 * spread[c] + 1e-8) for c in range(channels))
                / channels
                for other in others
            ]
            power = np.exp(scores)
            weights[row, column] = power / power.sum()
    for _ in range(iterations):
        after = np.zeros_like(planes)
        for (row, column), own_weights in weights.items():
            for weight, place in zip(own_weights, around(row, column, dilations), strict=True):
                after[:, row, column] += weight * value(planes, place)
        planes = after
    return planes


@pytest.fixture
def picture() -> tuple[np.ndarray, np.ndarray]:
    """Three planes and an image of 9 by 13 pixels, a part of which is of one colour."""
    rng = np.random.default_rng(3)
    image = rng.random((3, 9, 13))
    image[:, :5, :6] = 0.25
    return rng.normal(size=(3, 9, 13)), image


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4), (8, 16), TCL_DILATIONS])
@pytest.mark.parametrize("iterations", [1, 3])
def test_against_the_loop(
    picture: tuple[np.ndarray, np.ndarray], dilations: tuple[int, ...], iterations: int
) -> None:
    planes, image = picture
    want = naive(planes, image, iterations, dilations)
    got = pamr(
        torch.tensor(planes, dtype=torch.float32),
        torch.tensor(image, dtype=torch.float32),
        iterations=iterations,
        dilations=dilations,
    )
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want, atol=1e-5)


def test_the_defaults_are_ten_iterations_at_eight_and_sixteen(
    picture: tuple[np.ndarray, np.ndarray],
) -> None:
    planes, image = (torch.tensor(part) for part in picture)
    want = pamr(planes, image, iterations=10, dilations=(8, 16))
    assert torch.equal(pamr(planes, image), want)
    assert not torch.allclose(pamr(planes, image, iterations=9), want, atol=1e-5)


def test_weights_add_up_to_one_and_follow_the_colours() -> None:
    image = torch.zeros(3, 8, 8)
    image[:, :, 4:] = 1
    weights = affinity(image, (1,))
    assert weights.shape == (8, 8, 8)
    torch.testing.assert_close(weights.sum(0), torch.ones(8, 8))
    # At the border of the two colours, the three neighbours across it get next to nothing.
    across = weights[[2, 4, 7], 3, 3]
    along = weights[[0, 1, 3, 5, 6], 3, 3]
    assert across.max() < 1e-4
    assert along.min() > 0.19


def test_probabilities_stay_probabilities_and_the_input_as_it_is(
    picture: tuple[np.ndarray, np.ndarray],
) -> None:
    planes, image = (torch.tensor(part) for part in picture)
    shares = planes.softmax(0)
    before = shares.clone()
    refined = pamr(shares, image)
    assert torch.equal(shares, before)
    torch.testing.assert_close(refined.sum(0), torch.ones_like(refined[0]))
    low, high = (getattr(before, side)((1, 2)) for side in ("amin", "amax"))
    assert (refined >= low[:, None, None] - 1e-9).all()
    assert (refined <= high[:, None, None] + 1e-9).all()


def test_no_iteration_no_plane_and_one_colour(picture: tuple[np.ndarray, np.ndarray]) -> None:
    planes, image = (torch.tensor(part) for part in picture)
    assert torch.equal(pamr(planes, image, iterations=0), planes)
    assert pamr(planes[:0], image).shape == (0, 9, 13)
    # One colour: all neighbours weigh the same.
    plain = torch.full_like(image, 0.3)
    torch.testing.assert_close(affinity(plain, (1, 2)), torch.full((16, 9, 13), 1 / 16).double())


def test_wrong_shapes_and_numbers_are_said() -> None:
    planes, image = torch.zeros(2, 4, 5), torch.zeros(3, 4, 5)
    with pytest.raises(OvssError, match=r"planes \(K, H, W\)"):
        pamr(planes, torch.zeros(3, 5, 4))
    with pytest.raises(OvssError, match=r"planes \(K, H, W\)"):
        pamr(planes[0], image)
    with pytest.raises(OvssError, match="dilations of 1 or more"):
        pamr(planes, image, dilations=())
    with pytest.raises(OvssError, match="dilations of 1 or more"):
        pamr(planes, image, dilations=(0,))
    with pytest.raises(OvssError, match="iterations of 0 or more"):
        pamr(planes, image, iterations=-1)


def test_pnp_ovss_with_a_real_model() -> None:
    data = load_dataset("diorama", None, "tune")
    image, names = data.image(data.ids[0]), ["sky", "grass", "house"]
    fast = {"vlm": "micro-blip", "device": "cpu", "rounds": 1, "crf": False}
    plain = ovsslib.load("pnp-ovss", **fast).segment(image, names)
    refined = ovsslib.load("pnp-ovss", **fast, pamr=2, pamr_dilations=[1, 6]).segment(image, names)
    # Planes do not see each other: the background plane makes no difference.
    expected = pamr(
        torch.from_numpy(plain.planes),
        torch.tensor(plain.image).permute(2, 0, 1) / 255,
        iterations=2,
        dilations=(1, 6),
    )
    np.testing.assert_allclose(refined.planes, expected.numpy(), atol=1e-5)
    assert 0 < (refined.labels != plain.labels).mean() < 0.5
