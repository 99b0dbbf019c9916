"""Sentences that CLIP methods put class names into, by the name of the set.

PnP-OVSS does not use them: it has one prompt with all names (`PnPConfig.prompt`).
"""

from __future__ import annotations

from collections.abc import Callable

from ovsslib.lookup import pick

Template = Callable[[str], str]

TCL: tuple[str, ...] = (
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
)
"""Seven of OpenAI's sentences and two more (khanrc/tcl, datasets/templates.py, `custom`). The
second reads "of a"; in open_clip's seven, otherwise the same, it reads "of the"."""


def templates(name: str) -> tuple[Template, ...]:
    """A set of sentences, each a function of a class name.

    Args:
        name: `"openai"`: OpenAI's 80 for ImageNet, as open_clip holds them (SCLIP's family);
            `"tcl"`: `TCL`.

    Raises:
        OvssError: No set has this name.

    Example:
        >>> [sentence("cat") for sentence in templates("tcl")[-2:]]
        ['a photo of many cat.', 'a photo of cats.']
    """
    return pick("set of templates", name, {"openai": _openai, "tcl": _tcl})()


def _openai() -> tuple[Template, ...]:
    import open_clip

    return tuple(open_clip.OPENAI_IMAGENET_TEMPLATES)


def _tcl() -> tuple[Template, ...]:
    return tuple(sentence.format for sentence in TCL)
