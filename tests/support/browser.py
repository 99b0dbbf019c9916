"""Debian's chromium, driven by Playwright; pages served from this machine, and nothing else."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None,
    reason="chromium with Playwright is not here: apt-get install chromium, pip install playwright",
)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving_folder(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files, as any static host serves them."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # Root has no sandbox in a container; the pages are our own.
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(browser: Any, home: str, **context: Any) -> Iterator[tuple[Any, list[str]]]:
    """A page that can reach `home` alone, and what went wrong on it: errors, refused requests."""
    faults: list[str] = []
    place = browser.new_context(**context)
    page = place.new_page()

    def check(route: Any) -> None:
        url = route.request.url
        if url.startswith((f"{home}/", "blob:", "data:")):
            route.continue_()
        else:
            faults.append(f"leaves the machine: {url}")
            route.abort()

    place.route("**/*", check)
    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    try:
        yield page, faults
    finally:
        place.close()
