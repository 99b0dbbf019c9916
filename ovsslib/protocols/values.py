"""The values of the named protocols, as data: fields of `ovsslib.protocols.protocol.Protocol`.

Sources: github.com/letitiabanana/PnP-OVSS (`pnp`), github.com/khanrc/tcl (`tcl`; it evaluates
other methods too), github.com/wangf3014/SCLIP (`sclip`, its configuration files).
"""

from __future__ import annotations

from typing import Any

from ovsslib.protocols.windows import Window

VALUES: dict[str, dict[str, Any]] = {
    "pnp-fixed": {},
    "pnp": {
        "void": "background",
        "absent": "drop",
        "scored": "all",
        "no_class": "first",
        "usual_filter": "recorded: GPT-4o",
    },
    "tcl": {
        "window": Window(short=448, crop=448, stride=224),
        "templates": "tcl",
        # Without the refinement PAMR; 0.4 with it.
        "background_plane": 0.5,
        "usual_filter": "all",
    },
    "sclip": {
        "window": Window(short=336, crop=224, stride=112),
        "templates": "openai",
        "logit_scale": 40.0,
        "usual_filter": "all",
    },
}
"""Protocol -> fields, for every data set that `VARIANTS` does not name."""

_OBJECT = {"names": "sclip-coco-object", "logit_scale": 50.0, "prob_thd": 0.1}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    # The released code gives VOC and COCO-Object the background plane whatever the image, also
    # where a variant's labels leave background out.
    "pnp": {
        "voc21": {"names": "pnp-voc"},
        "voc20": {"names": "pnp-voc", "background_covered": "always"},
        "coco-object80": {"background_covered": "always"},
        "coco-stuff": {"names": "pnp-coco-stuff"},
        "ade20k": {"names": "pnp-ade20k"},
    },
    # Names as mmsegmentation spells them.
    "tcl": {
        **{name: {"name_spaces": False} for name in ("voc21", "voc20", "context60", "context59")},
        "ade20k": {"names": "mmseg-ade20k"},
    },
    "sclip": {
        "voc21": {
            "names": "sclip-voc",
            "name_spaces": False,
            "logit_scale": 65.0,
            "prob_thd": 0.1,
            "area_thd": 0.1,
        },
        "voc20": {"names": "sclip-voc", "name_spaces": False},
        "context60": {
            "names": "sclip-context",
            "name_spaces": False,
            "logit_scale": 50.0,
            "prob_thd": 0.1,
        },
        "context59": {"name_spaces": False},
        "coco-object81": _OBJECT,
        "coco-object-instances": _OBJECT,
        "coco-object80": {"names": "sclip-coco-object"},
        "coco-stuff": {"name_spaces": False, "window": Window(short=448, crop=224, stride=112)},
        "ade20k": {"names": "sclip-ade20k", "name_spaces": False},
    },
}
"""Protocol -> data set -> fields that differ there."""
