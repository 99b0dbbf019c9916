"""A file host on this machine over real HTTP that can cut connections."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `bodies` (path -> content); other paths are 404.

    `cut` is after how many bytes each of the next answers breaks off; `asked` the paths that were
    asked for. While `go_on` is not set, answers stop after half of their bytes.
    """

    daemon_threads = True

    def __init__(self, bodies: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = dict(bodies)
        self.cut: list[int] = []
        self.asked: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """What a static file host does."""

    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.server.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cut:
            body = body[: self.server.cut.pop(0)]
        self.wfile.write(body[: len(body) // 2])
        self.server.go_on.wait()
        self.wfile.write(body[len(body) // 2 :])

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
