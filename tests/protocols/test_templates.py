"""Sets of sentences."""

from __future__ import annotations

import open_clip
import pytest

from ovsslib.errors import OvssError
from ovsslib.protocols.protocol import get_protocol
from ovsslib.protocols.templates import templates


def test_sets_have_their_published_sizes() -> None:
    openai, tcl = templates("openai"), templates("tcl")
    assert (len(openai), len(tcl)) == (80, 9)
    assert len({sentence("cat") for sentence in openai}) == 80
    assert all("cat" in sentence("cat") for sentence in (*openai, *tcl))


def test_tcl_differs_from_the_seven_of_open_clip_in_one_word() -> None:
    seven = [sentence("cat") for sentence in open_clip.SIMPLE_IMAGENET_TEMPLATES]
    own = [sentence("cat") for sentence in templates("tcl")][:7]
    assert [a for a, b in zip(own, seven, strict=True) if a != b] == ["a bad photo of a cat."]
    assert "a bad photo of a cat." in [sentence("cat") for sentence in templates("openai")]


def test_protocols_name_theirs() -> None:
    sizes = {"pnp": 0, "pnp-fixed": 0, "tcl": 9, "sclip": 80}
    assert {name: len(get_protocol(name).template_list()) for name in sizes} == sizes


def test_unknown_set() -> None:
    with pytest.raises(OvssError, match="did you mean 'openai'"):
        templates("openai80")
