"""Formulas as MathML, which browsers draw themselves: no script, nothing fetched.

A Sphinx extension: `html_math_renderer: mathml` chooses it. It stands in for MathJax, which Sphinx
loads from a server on the network.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

MACROS = {r"\relu": r"\operatorname{ReLU}"}
"""Commands of this book's formulas -> what they stand for."""


def mathml(formula: str, *, display: bool = False) -> str:
    r"""MathML of a formula in TeX.

    Args:
        formula: TeX without dollar signs.
        display: On lines of its own, with large operators.

    Returns:
        A `<math>` element.

    Raises:
        OvssError: The formula holds a command that is not known, or its braces do not match.

    Example:
        >>> "<mo>ReLU</mo>" in mathml(r"\relu(x)")
        True
    """
    from latex2mathml.converter import convert

    text = formula.strip()
    for name, meaning in MACROS.items():
        text = re.sub(re.escape(name) + r"(?![a-zA-Z])", meaning.replace("\\", r"\\"), text)
    if text.count("{") != text.count("}"):
        raise OvssError(f"the formula {formula!r} has braces that do not match")
    try:
        found = convert(text, display="block" if display else "inline")
    except Exception as error:  # its errors have no common class
        raise OvssError(f"the formula {formula!r} cannot be read: {error!r}") from error
    if unknown := re.search(r"<m[io]>(\\[a-zA-Z]+)</m[io]>", found):
        raise OvssError(f"the formula {formula!r} holds {unknown[1]}, which is not known")
    return found


def _inline(self: Any, node: nodes.math) -> None:
    from docutils.nodes import SkipNode

    self.body.append(f'<span class="math">{mathml(node.astext())}</span>')
    raise SkipNode


def _display(self: Any, node: nodes.math_block) -> None:
    from docutils.nodes import SkipNode

    # a wide formula is scrolled on a phone, with the keyboard too
    self.body.append(self.starttag(node, "div", CLASS="math", tabindex="0"))
    self.body.append(mathml(node.astext(), display=True) + "</div>\n")
    raise SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
