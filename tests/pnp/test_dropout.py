"""Salience DropOut as state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.dropout import (
    DropState,
    advance,
    black_out,
    choose_patches,
    start,
    visible_maps,
)

salience_strategy = hnp.arrays(np.float32, 16, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))
mask_strategy = hnp.arrays(bool, 16)


def drop(count: int, **fields: object) -> PnPConfig:
    return PnPConfig(patches_per_round=count, **fields)


@given(salience_strategy, mask_strategy, st.integers(0, 20))
def test_chosen_patches_are_the_most_salient_remaining(
    salience: np.ndarray, dropped: np.ndarray, count: int
) -> None:
    chosen = choose_patches(salience, dropped, count)
    free = ~dropped & (salience > 0)
    assert chosen.sum() == min(count, free.sum())
    assert not (chosen & ~free).any()
    rest = free & ~chosen
    if chosen.any() and rest.any():
        assert salience[chosen].min() >= salience[rest].max()


def test_ties_go_to_the_first_patch() -> None:
    chosen = choose_patches(np.float32([1, 2, 2, 2, 0]), np.zeros(5, bool), 2)
    assert np.flatnonzero(chosen).tolist() == [1, 2]


@given(salience_strategy, mask_strategy)
def test_released_rule_takes_the_end_of_argsort(salience: np.ndarray, dropped: np.ndarray) -> None:
    chosen = choose_patches(salience, dropped, 10, drop_zero=True, ties="numpy")
    assert np.flatnonzero(chosen).tolist() == sorted(np.argsort(salience)[-10:].tolist())


def test_drop_zero_fills_the_round() -> None:
    salience = np.float32([0, 5, 0, 0])
    assert choose_patches(salience, np.zeros(4, bool), 3).sum() == 1
    assert choose_patches(salience, np.zeros(4, bool), 3, drop_zero=True).sum() == 3


def test_three_rounds_by_hand() -> None:
    state = start(2, 4)
    maps = np.float32([[4, 0, 0, 1], [0, 3, 0, 1]])
    state = advance(state, maps, maps.sum(0), drop(1))
    assert state.total.tolist() == maps.tolist()
    assert state.dropped.tolist() == [True, False, False, False]
    state = advance(state, maps, maps.sum(0), drop(1))
    # Patch 0 was blacked out: what the second map says there does not count.
    assert state.total.tolist() == [[4, 0, 0, 2], [0, 6, 0, 2]]
    assert state.dropped.tolist() == [True, True, False, False]
    state = advance(state, maps, maps.sum(0), drop(2))
    assert state.total.tolist() == [[4, 0, 0, 3], [0, 6, 0, 3]]
    assert state.dropped.tolist() == [True, True, False, True]
    assert state.round == 3


def test_round0_twice() -> None:
    maps = np.float32([[1, 2]])
    state = advance(start(1, 2), maps, maps[0], drop(0, round0_twice=True))
    assert state.total.tolist() == [[2, 4]]
    assert advance(state, maps, maps[0], drop(0, round0_twice=True)).total.tolist() == [[3, 6]]


@given(salience_strategy, st.integers(0, 5))
def test_state_and_arguments_are_not_changed(salience: np.ndarray, count: int) -> None:
    maps = salience[None].copy()
    state = DropState(np.ones((1, 16), np.float32), np.zeros(16, bool), 1)
    after = advance(state, maps, salience, drop(count))
    assert (state.total == 1).all()
    assert not state.dropped.any()
    assert (maps[0] == salience).all()
    assert (after.dropped >= state.dropped).all()


def test_visible_maps_keeps_float64() -> None:
    assert visible_maps(np.ones((1, 2)), np.array([True, False])).dtype == np.float64


@pytest.mark.parametrize("side", [2, 4])
def test_black_out_paints_whole_patches(side: int) -> None:
    pixels = torch.randn(2, 3, 8, 8)
    before = pixels.clone()
    mask = np.zeros((2, side, side), bool)
    mask[1, 0, 1] = True
    colour = torch.tensor([-1.0, -2.0, -3.0])
    out = black_out(pixels, mask, colour)
    patch = 8 // side
    assert torch.equal(pixels, before)
    assert torch.equal(out[0], before[0])
    inside = out[1, :, :patch, patch : 2 * patch]
    assert (inside == colour[:, None, None]).all()
    kept = np.ones((8, 8), bool)
    kept[:patch, patch : 2 * patch] = False
    assert torch.equal(out[1][:, kept], before[1][:, kept])
