"""After ViewCo (Ren et al. 2023, ICLR): a GroupViT whose groups agree on two views of an image.

Only its training differs (`ovsslib.trained.after_viewco`), of which no formula could be checked
against the paper; that is why the name begins with "after". It is read as a GroupViT, with
GroupViT's thresholds of background: the authors' own are not known.
"""

from __future__ import annotations

from ovsslib.peers.groupvit import GroupTower, GroupVit
from ovsslib.peers.method import builder


class AfterViewCo(GroupVit):
    """After ViewCo; planes are products of probabilities."""

    name = "after-viewco"


build = builder(AfterViewCo, GroupTower)
