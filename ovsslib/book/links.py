"""Links of the built pages that lead nowhere, and scripts or styles that come from the network."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_LOADED = ("script", "link", "img", "iframe", "source")
"""Elements whose address a browser fetches by itself."""


def dead_links(folder: Path) -> list[str]:
    """What does not resolve on the pages of a folder.

    Addresses on the network are not asked; a page may link there, but must load nothing from there.

    Args:
        folder: The built pages.

    Returns:
        One line per fault, the page first.
    """
    read = functools.cache(_read)
    broken = []
    for page in sorted(folder.rglob("*.html")):
        if "_static" in page.relative_to(folder).parts:
            continue  # templates that a theme brings
        for tag, address in read(page)[1]:
            if fault := _fault(page, tag, address, read):
                broken.append(f"{page.relative_to(folder)}: {fault}")
    return list(dict.fromkeys(broken))


def _fault(page: Path, tag: str, address: str, read: Any) -> str:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        outside = tag in _LOADED and parts.scheme in ("", "http", "https")
        return f"loads {address} from the network" if outside else ""
    target = page.parent / unquote(parts.path) if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return f"a link to {parts.path}, which is not there"
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == ".html" and anchor not in read(target.resolve())[0]:
        return f"a link to {address}, which has no such place"
    return ""


def _read(page: Path) -> tuple[set[str], list[tuple[str, str]]]:
    """The places of a page, and its elements with addresses."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    places = {str(element["id"]) for element in soup.find_all(id=True)}
    return places, list(_addresses(soup))


def _addresses(soup: Any) -> Iterator[tuple[str, str]]:
    for element in soup.find_all(["a", *_LOADED]):
        address = element.get("href") or element.get("src")
        relation = element.get("rel") or []
        if address and "canonical" not in relation and address != "#":
            yield element.name, str(address)
