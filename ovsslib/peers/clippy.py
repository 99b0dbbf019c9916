"""CLIPpy (Ranasinghe et al. 2023, ICCV): patches that were trained to be compared with names.

CLIP whose image vector is the maximum over its patches, feature by feature
(`ovsslib.trained.clippy`). A patch is compared with names as it leaves the last layer, which for
any other CLIP says little (`ovsslib.peers.raw_clip`).
"""

from __future__ import annotations

from ovsslib.peers.dense import PhotoConfig, builder
from ovsslib.peers.raw_clip import RawClip


class Clippy(RawClip):
    """CLIPpy with a CLIP that was trained for it."""

    name = "clippy"
    settings = PhotoConfig


build = builder(Clippy)
