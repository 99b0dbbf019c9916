"""The built book in a real browser: Debian's chromium, driven by Playwright, with the network cut.

Nothing is downloaded: the browser is the machine's own, axe-core comes inside a pinned package.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.helpers import ROOT

HTML = ROOT / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome")
LIVE = "/_static/generated/live/"
"""Where the model and the runtime of the page "Try it" are."""
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
"""Width and height of the windows, in CSS pixels."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; gives its address without a slash at the end."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def started() -> Iterator[Any]:
    """A headless chromium; the test is skipped where the machine has none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no chromium here; `make test-book` installs it (Debian, as root)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield chromium
        finally:
            chromium.close()


@dataclass
class Visit:
    """One page as a reader has it, and what went wrong while it was shown.

    Attributes:
        page: Playwright's page.
        address: Where the book is served.
        errors: What scripts wrote to the console as errors, and what they threw.
        failed: Requests that failed, were answered by an error, or left the book.
        size: Bytes of everything that was loaded, uncompressed, without the model and what runs it.
    """

    page: Any
    address: str
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    size: int = 0

    def watch(self) -> None:
        """Write down what goes wrong from now on, and let no request leave this machine."""
        self.page.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda one: self.failed.append(f"failed: {one.url}"))
        self.page.on("response", self._answered)
        self.page.route("**/*", self._let)

    def _let(self, route: Any) -> None:
        if route.request.url.startswith((f"{self.address}/", "data:", "blob:")):
            route.continue_()
        else:
            self.failed.append(f"leaves this machine: {route.request.url}")
            route.abort()

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.failed.append(f"{response.status}: {response.url}")

    def open(self, name: str) -> None:
        """Open a page of the book and wait until nothing more is loaded."""
        self.page.goto(f"{self.address}/{name}", wait_until="networkidle")
        self.size = self.page.evaluate(
            "performance.getEntriesByType('navigation')"
            ".concat(performance.getEntriesByType('resource'))"
            f".filter(entry => !entry.name.includes('{LIVE}'))"
            ".reduce((sum, entry) => sum + entry.decodedBodySize, 0)"
        )


@contextmanager
def visit(browser: Any, address: str, size: str = "desk", scheme: str = "light") -> Iterator[Visit]:
    """A fresh window without a history.

    Args:
        browser: A chromium of `started`.
        address: Where the book is `served`.
        size: Key of `SIZES`; a phone also has touch.
        scheme: `"light"` or `"dark"`, as the reader's system asks for.
    """
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        has_touch=size == "phone",
        is_mobile=size == "phone",
        reduced_motion="reduce",
    )
    seen = Visit(context.new_page(), address)
    seen.watch()
    try:
        yield seen
    finally:
        context.close()


def axe(page: Any, *impacts: str) -> list[str]:
    """What axe-core finds on a page.

    Args:
        page: Playwright's page.
        impacts: Which findings count, such as `"serious"`.

    Returns:
        A line per rule: its name, how many elements, and the first of them.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    lines = []
    for one in found:
        if one["impact"] in impacts:
            nodes = one["nodes"]
            first = f"{nodes[0]['target']}: {nodes[0]['html'][:160]}"
            lines.append(f"{one['id']} ({one['impact']}, {len(nodes)}): {first}")
    return lines


def sources() -> list[Path]:
    """The files that the pages are built from, without the library."""
    book = ROOT / "book"
    found = [path for path in book.rglob("*") if path.is_file() and ".lock" not in path.name]
    return [*found, *(ROOT / "ovsslib" / "book").glob("*.py"), ROOT / "_config.yml"]


def newest_book() -> Path:
    """The folder of the built pages; the test is skipped where they are missing or older."""
    log = HTML.parent / "build.log"  # written by every build, also where no page changed
    if not (HTML / "index.html").is_file() or not log.is_file():
        pytest.skip("there is no built book here; `make test-book` builds it")
    if log.stat().st_mtime < max(path.stat().st_mtime for path in sources()):
        pytest.skip("there is no book built from these files here; `make test-book` builds it")
    return HTML
