"""A model hub on this machine, spoken to by the hub's own library over real HTTP."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMIT = "c" * 40
_API = re.compile(r"/api/models/([^/]+/[^/]+)/(revision|tree)/")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")


class HubServer(http.server.ThreadingHTTPServer):
    """Serves folders as repositories (`"owner/name"` -> folder).

    `sent` is which files were sent, each as `"owner/name/file"`, as often as they were.
    """

    daemon_threads = True

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders = dict(folders)
        self.sent: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    """The three requests that fetching a repository takes."""

    server: HubServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        if api := _API.match(self.path):
            folder = self.server.folders.get(api[1])
            if folder is not None:
                files = [path for path in sorted(folder.iterdir()) if path.is_file()]
                tree = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0"}
                    for path in files
                ]
                whole = {"id": api[1], "sha": COMMIT, "siblings": []}
                self._send(json.dumps(whole if api[2] == "revision" else tree).encode())
                return
        elif file := _FILE.match(self.path):
            folder = self.server.folders.get(file[1])
            if folder is not None and (folder / file[2]).is_file():
                if with_body:
                    self.server.sent.append(f"{file[1]}/{file[2]}")
                self._send((folder / file[2]).read_bytes(), with_body=with_body)
                return
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, body: bytes, *, with_body: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hub(
    folders: Mapping[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubServer]:
    """Serve folders as a hub as long as the block lasts, to this process alone.

    Processes that it starts know the cache, but stay offline.
    """
    with HubServer(folders) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_HUB_CACHE", str(cache))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with monkeypatch.context() as patch:
            constants = "huggingface_hub.constants"
            template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
            patch.setattr(f"{constants}.ENDPOINT", server.url)
            patch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
            try:
                yield server
            finally:
                server.shutdown()
