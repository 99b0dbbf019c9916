"""PnP-OVSS step by step: the stages added one after another, and each one taken out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ovsslib.evaluate.spec import RunSpec

if TYPE_CHECKING:
    from ovsslib.pnp.config import PnPConfig

RANDOM = "random"
"""Noise in place of salience: what refinement and the class list know by themselves."""
WHOLE = "+ CRF"
"""The last step: the whole method."""


def added(full: PnPConfig) -> dict[str, PnPConfig]:
    """Noise, bare attention, and the stages added one after another.

    Args:
        full: Settings of the whole method.

    Returns:
        Name -> settings, in order; the last is the whole method.

    Example:
        >>> from ovsslib import preset
        >>> list(added(preset("blip")))
        ['random', 'attention', '+ GradCAM', '+ DropOut', '+ blur', '+ CRF']
    """
    raw = full.replace(rounds=1, blur=0.0, crf=False)
    return {
        RANDOM: full.replace(salience="random"),
        "attention": raw.replace(salience="attention"),
        "+ GradCAM": raw.replace(salience="gradcam"),
        "+ DropOut": full.replace(salience="gradcam", blur=0.0, crf=False),
        "+ blur": full.replace(salience="gradcam", crf=False),
        WHOLE: full.replace(salience="gradcam"),
    }


def without(full: PnPConfig) -> dict[str, PnPConfig]:
    """The whole method with one stage taken out; without the CRF it is `"+ blur"` of `added`.

    Example:
        >>> from ovsslib import preset
        >>> list(without(preset("blip")))
        ['without GradCAM', 'without DropOut', 'without blur']
    """
    return {
        "without GradCAM": full.replace(salience="attention"),
        "without DropOut": full.replace(salience="gradcam", rounds=1),
        "without blur": full.replace(salience="gradcam", blur=0.0),
    }


def spec(base: RunSpec, full: PnPConfig, config: PnPConfig) -> RunSpec:
    """A run with other settings of the method.

    Args:
        base: The run with the settings `full`.
        full: Those settings.
        config: The other settings.

    Returns:
        `base` with what differs in its `config`; `base` itself where nothing does.
    """
    before, after = full.to_dict(), config.to_dict()
    changes = {key: value for key, value in after.items() if value != before[key]}
    return dataclasses.replace(base, config={**base.config, **changes}) if changes else base
