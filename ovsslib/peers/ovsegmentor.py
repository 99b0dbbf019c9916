"""OVSegmentor (Xu et al. 2023, CVPR): a GroupViT that learnt to fill in names and share masks.

Only its training differs (`ovsslib.trained.ovsegmentor`); it is read as a GroupViT, with thresholds
of its own. The authors' own checkpoint has BERT for texts (`ovsslib.peers.released_ovsegmentor`).
"""

from __future__ import annotations

from ovsslib.peers.groupvit import PUBLISHED, GroupVit
from ovsslib.peers.method import builder
from ovsslib.peers.released_ovsegmentor import OvSegmentorTower


class OvSegmentor(GroupVit):
    """OVSegmentor; planes are products of probabilities."""

    name = "ovsegmentor"
    published = PUBLISHED | {"coco-object81": 0.9}


build = builder(OvSegmentor, OvSegmentorTower)
