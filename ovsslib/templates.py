"""Sentences that CLIP methods put class names into, by the name of the set.

PnP-OVSS does not use them: it has one prompt with all names (`PnPConfig.prompt`).
"""

from __future__ import annotations

from collections.abc import Callable

from ovsslib.registry import pick

Template = Callable[[str], str]

TCL_OWN: tuple[str, ...] = ("a photo of many {}.", "a photo of {}s.")
"""What TCL adds to the seven sentences (github.com/kakaobrain/tcl)."""


def templates(name: str) -> tuple[Template, ...]:
    """A set of sentences, each a function of a class name.

    Args:
        name: ``"openai"``: OpenAI's 80 for ImageNet, as open_clip holds them (SCLIP's family);
            ``"tcl"``: the 7 of them that its authors chose, and `TCL_OWN`.

    Raises:
        OvssError: no set has this name.

    Example:
        >>> [sentence("cat") for sentence in templates("tcl")[-2:]]
        ['a photo of many cat.', 'a photo of cats.']
    """
    return pick("set of templates", name, {"openai": _openai, "tcl": _tcl})()


def _openai() -> tuple[Template, ...]:
    import open_clip

    return tuple(open_clip.OPENAI_IMAGENET_TEMPLATES)


def _tcl() -> tuple[Template, ...]:
    import open_clip

    own: tuple[Template, ...] = tuple(sentence.format for sentence in TCL_OWN)
    return (*open_clip.SIMPLE_IMAGENET_TEMPLATES, *own)
