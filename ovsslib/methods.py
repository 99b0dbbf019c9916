"""The segmentation methods, by name: their builders, and what is known about each.

A new method needs a line in `METHODS` and one in `methods.csv` beside this file.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ovsslib.lookup import check_names, pick, resolve

METHODS: dict[str, str] = {
    "pnp-ovss": "ovsslib.pnp.pipeline:build",
    "raw-clip": "ovsslib.peers.raw_clip:build",
    "maskclip": "ovsslib.peers.maskclip:build",
    "sclip": "ovsslib.peers.sclip:build",
    "clearclip": "ovsslib.peers.clearclip:build",
    "naclip": "ovsslib.peers.naclip:build",
    "groupvit": "ovsslib.peers.groupvit:build",
    "segclip": "ovsslib.peers.segclip:build",
    "ovsegmentor": "ovsslib.peers.ovsegmentor:build",
    "clippy": "ovsslib.peers.clippy:build",
    "tcl": "ovsslib.peers.tcl:build",
    "pacl": "ovsslib.peers.pacl:build",
    "after-viewco": "ovsslib.peers.after_viewco:build",
    "after-vil-seg": "ovsslib.peers.after_vil_seg:build",
    "zeroseg": "ovsslib.peers.zeroseg:build",
    "maskclip-plus": "ovsslib.peers.maskclip_plus:build",
    "tipsv2": "ovsslib.peers.tipsv2:build",
    "siglip2": "ovsslib.peers.siglip2:build",
    "clipseg": "ovsslib.peers.clipseg:build",
    "owlv2-sam2": "ovsslib.peers.owlv2_sam2:build",
    "grounding-dino-sam2": "ovsslib.peers.grounding_dino_sam2:build",
    "sam3": "ovsslib.peers.sam3:build",
    "gem": "ovsslib.peers.gem:build",
    "clip-surgery": "ovsslib.peers.clip_surgery:build",
    "itaclip": "ovsslib.peers.itaclip:build",
    "resclip": "ovsslib.peers.resclip:build",
    "proxyclip": "ovsslib.peers.proxyclip:build",
    "lposs": "ovsslib.peers.lposs:build",
    "cass": "ovsslib.peers.cass:build",
    "clip-dinoiser": "ovsslib.peers.clip_dinoiser:build",
    "reco": "ovsslib.peers.reco:build",
}
"""Name -> `"module:function"` of its builder; a string, so that listing methods imports none."""

DEFAULTS: dict[str, str] = {
    "pnp-ovss": "micro-blip",
    "groupvit": "nvidia/groupvit-gcc-yfcc",
    **{
        name: f"micro-{name}"
        for name in (
            "segclip",
            "ovsegmentor",
            "clippy",
            "tcl",
            "pacl",
            "after-viewco",
            "after-vil-seg",
            "zeroseg",
            "maskclip-plus",
        )
    },
    "tipsv2": "google/tipsv2-b14",
    "siglip2": "google/siglip2-base-patch16-224",
    "clipseg": "CIDAS/clipseg-rd64-refined",
    "owlv2-sam2": "google/owlv2-base-patch16-ensemble+facebook/sam2.1-hiera-tiny",
    "grounding-dino-sam2": "IDEA-Research/grounding-dino-tiny+facebook/sam2.1-hiera-tiny",
    "sam3": "facebook/sam3",
}
"""Name -> the model it takes where none is named; methods that are not here take micro-clip."""

BESIDE: dict[str, dict[str, str | None]] = {
    **{name: {"dino": "micro-dino"} for name in ("proxyclip", "lposs", "cass", "clip-dinoiser")},
    "reco": {"archive": None},
}
"""Name -> settings that name what it reads beside its model, with their defaults: changed files
change its figures."""


def default_model(method: str) -> str:
    """The model that a method takes where none is named.

    Example:
        >>> default_model("pnp-ovss"), default_model("naclip")
        ('micro-blip', 'micro-clip')
    """
    return DEFAULTS.get(method, "micro-clip")


SUPERVISION: dict[str, str] = {
    "image-text": "frozen networks trained on images with texts; nothing else",
    "self-supervised+image-text": "also a frozen network trained on images alone, such as DINO",
    "unlabelled images": "something is trained on images alone, taught by an image-text model",
    "image labels": "a network trained with the classes of whole images",
    "captions": "trained for segmentation on images with captions",
    "boxes": "a network trained with boxes around objects",
    "masks": "a network trained with masks, of whatever data, classes or none",
    "masks of the target set": "masks of the data set that is scored",
}
"""Kind -> what it means, from the least to the most.

A method counts by the most that any of its networks was trained with. Networks of text alone, and
whatever weights were started from, do not count.
"""


@dataclass(frozen=True)
class Record:
    """What is known about a method, a line of `methods.csv`.

    Attributes:
        method: Its name in `METHODS`.
        supervision: A key of `SUPERVISION`.
        trained_on: What the networks of the published system were trained on, in one phrase.
        paper: Keys in `book/references.bib`, with spaces between.
        reference: The same for people.
        licence: Of published weights; which weights, where they are not the method's own.
    """

    method: str
    supervision: str
    trained_on: str
    paper: str
    reference: str
    licence: str


@functools.cache
def records() -> dict[str, Record]:
    """What is known about each method.

    Returns:
        Name -> record, in the order of `methods.csv`.

    Raises:
        OvssError: The file names a supervision that is not in `SUPERVISION`.

    Example:
        >>> records()["naclip"].reference
        'Hajimiri et al., WACV 2025'
    """
    text = resources.files("ovsslib").joinpath("methods.csv").read_text("utf-8")
    found = [Record(**row) for row in csv.DictReader(text.splitlines(), strict=True)]
    check_names("supervision", (record.supervision for record in found), SUPERVISION)
    return {record.method: record for record in found}


def list_methods() -> list[str]:
    """Names that `ovsslib.load` accepts as its first argument.

    Example:
        >>> "pnp-ovss" in list_methods()
        True
    """
    return sorted(METHODS)


def load(method: str, **options: Any) -> Any:
    """Build a segmentation method by name.

    Args:
        method: A name out of `list_methods`, such as `"pnp-ovss"`.
        **options: Passed to the method's builder; for `"pnp-ovss"` see
            `ovsslib.pnp.pipeline.build` (`vlm`, `preset`, `device`, `dtype`, `download`
            and any field of `ovsslib.pnp.config.PnPConfig`).

    Returns:
        A `ovsslib.pnp.result.Segmenter`.

    Raises:
        OvssError: The method, the model or an option is unknown.
    """
    return resolve(pick("method", method, METHODS))(**options)
