"""A file host on this machine over real HTTP, with byte ranges, that can cut connections."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class FileServer(http.server.ThreadingHTTPServer):
    """Serves ``bodies`` (path -> content); other paths are 404.

    ``cut`` is after how many bytes each of the next answers breaks off; ``ranges`` whether it can
    go on in the middle; ``asked`` what was asked for: path and range.
    """

    daemon_threads = True

    def __init__(self, bodies: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = dict(bodies)
        self.cut: list[int] = []
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """What a static file host does."""

    server: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        body = self.server.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + self.server.cut.pop(0) if self.server.cut else None
        self.wfile.write(body[start:end])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(bodies: Mapping[str, bytes]) -> Iterator[FileServer]:
    """Run a server as long as the block lasts."""
    with FileServer(bodies) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
