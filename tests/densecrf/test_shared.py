"""Lattices that are kept: for which settings, and for how long."""

from __future__ import annotations

import pytest
import torch

from ovsslib.densecrf import DenseCRF, crf
from ovsslib.densecrf.kernels import gaussian
from ovsslib.densecrf.shared import Lattices
from support.crf import energies, noise


def test_settings_share_lattices(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    for name in ("gaussian", "bilateral"):
        make = getattr(crf, name)
        monkeypatch.setattr(
            crf, name, lambda *a, make=make, name=name: (built.append(name), make(*a))[1]
        )
    monkeypatch.setattr(crf, "lattices", Lattices())
    image = noise((12, 10))
    DenseCRF()(energies(3, (12, 10)), image)
    assert built == ["gaussian", "bilateral"]
    # Other energies, classes, weights and iterations: nothing is built again.
    DenseCRF(gaussian_compat=1, bilateral_compat=2, iterations=3)(energies(5, (12, 10), 1), image)
    assert built == ["gaussian", "bilateral"]
    # Another image of this size: only what depends on colours.
    DenseCRF()(energies(3, (12, 10)), noise((12, 10), 1))
    assert built[2:] == ["bilateral"]
    DenseCRF(gaussian_sxy=2)(energies(3, (12, 10)), image)
    DenseCRF(bilateral_srgb=7)(energies(3, (12, 10)), image)
    # The same bytes in another shape are another image.
    DenseCRF()(energies(3, (10, 12)), image.reshape(10, 12, 3))
    assert built[3:] == ["gaussian", "bilateral", "gaussian", "bilateral"]
    DenseCRF(bilateral_compat=0, gaussian_compat=0)(energies(3, (5, 5)), noise((5, 5)))
    assert len(built) == 7


def test_a_batch_has_one_lattice_for_all_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Lattices()
    monkeypatch.setattr(crf, "lattices", kept)
    sizes = [(12, 10), (7, 9)]
    images = [noise(size, seed) for seed, size in enumerate(sizes)]
    for classes in (3, 5):
        unaries = [energies(classes, size) for size in sizes]
        DenseCRF(iterations=classes).batch(unaries, images, together=True)
    assert len(kept) == 2
    # In another order it is another batch; alone, another image.
    DenseCRF().batch(unaries[::-1], images[::-1], together=True)
    assert len(kept) == 4
    DenseCRF()(unaries[0], images[0])
    assert len(kept) == 6


def test_the_oldest_goes_first() -> None:
    one = gaussian([(5, 5)], 3)
    kept = Lattices(2 * one.bytes)
    for key in ("a", "b", "a", "c"):
        kept.get(key, lambda: one)
    assert len(kept) == 2
    fresh = gaussian([(5, 5)], 3)
    assert kept.get("a", lambda: fresh) is one
    assert kept.get("b", lambda: fresh) is fresh
    kept.clear()
    assert len(kept) == 0


def test_what_is_too_large_is_not_kept() -> None:
    kept = Lattices(10)
    assert kept.get("a", lambda: gaussian([(5, 5)], 3)).pixels == 25
    assert len(kept) == 0


def test_digest_tells_images_apart() -> None:
    image = torch.from_numpy(noise((4, 6)))
    other = image.clone()
    other[0, 0, 0] ^= 1
    names = {Lattices.digest(x) for x in (image, other, image.reshape(6, 4, 3), image.float())}
    assert len(names) == 4
    assert Lattices.digest(image.clone()) in names
