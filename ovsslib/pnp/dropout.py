"""Salience DropOut as explicit state (step 4): sum maps, black out the salient patches, repeat.

Letters: K classes, P patches, h x w their grid. Arrays are numpy: selection happens on the CPU,
and its outcome must not depend on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ovsslib.pnp.config import PnPConfig


@dataclass(frozen=True)
class DropState:
    """State of Salience DropOut for one image; `advance` gives a new one.

    Attributes:
        total: (K, P) float32 sum of the rounds' maps.
        dropped: (P,) bool, patches that are blacked out in the next round.
        round: Number of maps added so far.
    """

    total: np.ndarray
    dropped: np.ndarray
    round: int = 0


def start(classes: int, patches: int) -> DropState:
    """The state before round 0.

    Example:
        >>> start(2, 9).total.shape
        (2, 9)
    """
    return DropState(np.zeros((classes, patches), np.float32), np.zeros(patches, bool))


def visible_maps(maps: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Maps (..., P) with the salience of dropped patches set to 0."""
    return np.where(dropped, 0, maps).astype(maps.dtype)


def choose_patches(
    salience: np.ndarray,
    dropped: np.ndarray,
    count: int,
    *,
    drop_zero: bool = False,
    ties: str = "first",
) -> np.ndarray:
    """The remaining patches that hold most salience.

    Args:
        salience: (P,) salience summed over the class tokens, not negative.
        dropped: (P,) bool, patches dropped before.
        count: Number of patches to choose.
        drop_zero: Whether patches without salience fill up the round, dropped ones among them
            (released code, which may therefore drop fewer new ones). Blacking out a patch without
            salience only damages the image.
        ties: `"first"` prefers lower patch numbers; `"numpy"` takes the end of numpy's
            default `argsort`.

    Returns:
        (P,) bool, patches chosen now. Unless `drop_zero` is set, none was dropped before.

    Example:
        >>> choose_patches(np.float32([0, 3, 2, 5]), np.array([0, 0, 0, 1], bool), 1)
        array([False,  True, False, False])
    """
    chosen = np.zeros(len(salience), bool)
    candidates = np.ones_like(dropped) if drop_zero else ~dropped & (salience > 0)
    order = np.argsort(-salience, kind="stable") if ties == "first" else np.argsort(salience)[::-1]
    chosen[order[candidates[order]][:count]] = True
    return chosen


def advance(
    state: DropState, maps: np.ndarray, token_sum: np.ndarray, config: PnPConfig
) -> DropState:
    """Add one round's maps and choose what the next round does not see.

    Args:
        state: State before the round; not changed.
        maps: (K, P) class maps of the round.
        token_sum: (P,) salience of the round summed over the class tokens.
        config: Its `patches_per_round`, `drop_zero`, `ties` and `round0_twice` are used.

    Returns:
        The state after the round.
    """
    chosen = choose_patches(
        visible_maps(token_sum, state.dropped),
        state.dropped,
        config.patches_per_round,
        drop_zero=config.drop_zero,
        ties=config.ties,
    )
    weight = np.float32(2 if config.round0_twice and state.round == 0 else 1)
    total = state.total + weight * visible_maps(maps, state.dropped)
    return DropState(total, state.dropped | chosen, state.round + 1)


def black_out(pixels: torch.Tensor, dropped: np.ndarray, value: torch.Tensor) -> torch.Tensor:
    """Paint dropped patches over in the network's input.

    Args:
        pixels: (B, 3, S, S) normalised pixels; not changed.
        dropped: (B, h, w) bool.
        value: (3,) normalised colour of a dropped pixel.

    Returns:
        (B, 3, S, S).

    Example:
        >>> mask = np.array([[[True, False], [False, False]]])
        >>> black_out(torch.ones(1, 3, 4, 4), mask, torch.zeros(3))[0, 0, 0]
        tensor([0., 0., 1., 1.])
    """
    if not dropped.any():
        return pixels
    patch = pixels.shape[-1] // dropped.shape[-1]
    mask = torch.from_numpy(dropped).to(pixels.device)[:, None]
    mask = mask.repeat_interleave(patch, dim=-2).repeat_interleave(patch, dim=-1)
    return torch.where(mask, value.to(pixels)[:, None, None], pixels)
