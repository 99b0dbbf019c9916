"""What is counted of images, and how tallies add up."""

from __future__ import annotations

import numpy as np

from ovsslib.metrics import boundary
from ovsslib.metrics.counts import COUNT_NAMES, confusion_matrix, image_counts
from ovsslib.metrics.tally import Ledger, Tally, tally
from ovsslib.protocols.protocol import get_protocol

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 5, (12, 16)).astype(np.uint8)
TRUTH[3] = 255
LABELS = RNG.integers(-1, 2, (12, 16)).astype(np.int16)
LOOKED_FOR = (4, 2)


def equal(one: Tally, other: Tally) -> bool:
    areas = [(one.counts, other.counts), (one.boundary, other.boundary)]
    pairs = [(getattr(a, n), getattr(b, n)) for a, b in areas for n in COUNT_NAMES]
    return all(np.array_equal(a, b) for a, b in [*pairs, (one.confusion, other.confusion)])


def test_a_tally_is_the_protocols_areas_boundaries_and_pairs() -> None:
    protocol = get_protocol("pnp-fixed")
    found = tally(protocol, LABELS, LOOKED_FOR, TRUTH, 4)
    said = np.array([0, 4, 2])[LABELS + 1]
    assert np.array_equal(found.confusion, confusion_matrix(said, TRUTH, 5))
    near = boundary.counts(said, TRUTH, 5, ignore=255)
    assert equal(found, Tally(image_counts(said, TRUTH, 5), near, found.confusion))
    assert found.confusion.sum() == (TRUTH != 255).sum()
    as_released = tally(get_protocol("pnp"), LABELS, LOOKED_FOR, TRUTH, 4)
    assert as_released.confusion.sum() == TRUTH.size, "void counts as background there"


def test_a_ledger_keeps_the_order_and_sums_the_pairs() -> None:
    protocol, ledger = get_protocol("pnp-fixed"), Ledger(5)
    assert ledger.total.counts.truth.shape == (0, 5)
    parts = [tally(protocol, np.roll(LABELS, k, 1), LOOKED_FOR, TRUTH, 4) for k in range(3)]
    for name, part in zip("cab", parts, strict=True):
        ledger.add(name, part)
    assert ledger.ids == ["c", "a", "b"]
    assert equal(ledger.total, Tally.stack(parts, 5))
    assert np.array_equal(ledger.total.confusion, sum(part.confusion for part in parts))
    for row, part in enumerate(parts):
        assert np.array_equal(ledger.total.counts.predicted[row], part.counts.predicted[0])
