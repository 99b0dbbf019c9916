"""Formulas as MathML."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ovsslib.book.mathml import mathml
from ovsslib.errors import OvssError

SPACE = "{http://www.w3.org/1998/Math/MathML}"


def test_a_fraction_with_indices() -> None:
    tree = ElementTree.fromstring(mathml(r"\frac{\partial s}{\partial A_{tp}}", display=True))
    assert tree.tag == f"{SPACE}math"
    assert tree.get("display") == "block"
    above, below = tree.find(f".//{SPACE}mfrac")
    assert "".join(above.itertext()) == "∂s"
    assert "".join(below.itertext()) == "∂Atp"
    assert below.find(f".//{SPACE}msub") is not None


def test_our_own_commands() -> None:
    assert "<mo>ReLU</mo>" in mathml(r"\relu\left(A\right)")


@pytest.mark.parametrize("formula", [r"\nosuchcommand x", r"\frac{a", r"\left( a"])
def test_what_cannot_be_read_is_named(formula: str) -> None:
    with pytest.raises(OvssError, match="the formula"):
        mathml(formula)
