"""Untrained heads of the trained systems, on the shipped micro-clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ovsslib.peers.after_vil_seg import AfterVilSegTower
from ovsslib.peers.head import HeadTower, save_head
from ovsslib.peers.maskclip_plus import MaskClipPlusTower
from ovsslib.peers.pacl import PaclTower
from ovsslib.peers.segclip import SegClipTower
from ovsslib.peers.tcl import TclTower
from ovsslib.peers.zeroseg import ZeroSegTower
from support.towers import micro

# The CLIPs of SegCLIP and ViL-Seg are the shipped one here.
TOWERS: tuple[type[HeadTower], ...] = (
    TclTower,
    PaclTower,
    ZeroSegTower,
    MaskClipPlusTower,
    SegClipTower,
    AfterVilSegTower,
)


def make_head(tower: type[HeadTower]) -> Callable[[Path], Path]:
    """What saves a head at random in a folder."""

    def make(folder: Path) -> Path:
        clip = micro().model
        torch.manual_seed(0)
        save_head(folder, tower.system, ("micro-clip", clip), tower.head_class(clip))
        return folder

    return make
