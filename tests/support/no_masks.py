"""Training code run where nothing that draws or reads a mask can be imported."""

from __future__ import annotations

import sys

_BLIND = """
import sys
class Blind:
    def find_spec(self, name, path=None, target=None):
        drawing = "ovsslib.miniature.diorama."
        if name in (drawing + "scene", drawing + "make", drawing + "captions"):
            raise ImportError("masks are drawn there: " + name)
        if name.startswith("ovsslib.datasets"):
            raise ImportError("masks are read there: " + name)
sys.meta_path.insert(0, Blind())
"""


def without_masks(code: str, *arguments: object) -> list[str]:
    """The command line that runs code so; `sys.argv[1:]` are the arguments."""
    return [sys.executable, "-c", _BLIND + code, *map(str, arguments)]
