"""Where the files that come with ovsslib lie: in the checkout, or inside the installed package."""

from __future__ import annotations

from pathlib import Path

from ovsslib.errors import OvssError

PACKAGE = Path(__file__).resolve().parent
"""The folder of the package itself."""


def data(*parts: str) -> Path:
    """A shipped file or folder: checkpoints, Diorama, published figures, stored results.

    The wheel carries a copy of the checkout's `data/` as `ovsslib/_data`.

    Args:
        *parts: Names below `data/`, such as `"checkpoints", "micro-blip"`.

    Returns:
        Its path; it need not exist.

    Example:
        >>> data("checkpoints", "micro-blip", "config.json").is_file()
        True
    """
    installed = PACKAGE / "_data"
    return (installed if installed.is_dir() else PACKAGE.parent / "data").joinpath(*parts)


def in_checkout() -> bool:
    """Whether this package is run from a checkout, with notebooks and book beside it."""
    return (PACKAGE.parent / "book" / "_toc.yml").is_file()


def checkout() -> Path:
    """The root of the checkout.

    Raises:
        OvssError: The package is installed without a checkout.
    """
    if not in_checkout():
        raise OvssError(
            "this needs ovsslib's repository (notebooks, book), which an installed package does "
            "not carry; clone it and run the command there"
        )
    return PACKAGE.parent
