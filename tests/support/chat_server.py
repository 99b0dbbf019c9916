"""A real HTTP server on this machine that speaks OpenAI's chat API, and misbehaves on demand."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.helpers import write_voc

KEY = "sk-proj-0123456789abcdefKEY"
"""What the client must send, and must show to nobody."""


class ChatServer(http.server.ThreadingHTTPServer):
    """Answers with the class that an image's green stands for, unless `script` says otherwise.

    `script` holds what each of the next requests gets; when it is empty, all goes well.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.structured = True
        self.usage = True
        self.delay = 0.0
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.flying = self.most_flying = 0
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients of these tests hang up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def sent(self) -> list[Image.Image]:
        """The images that were sent."""
        return [image_of(body) for body in self.requests]


def image_of(body: dict) -> Image.Image:
    (url,) = [p["image_url"]["url"] for p in body["messages"][1]["content"] if "image_url" in p]
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def names_of(body: dict) -> list[str]:
    text = body["messages"][1]["content"][0]["text"]
    return [line.split(": ")[1] for line in text.partition("Classes:\n")[2].splitlines()]


class Handler(http.server.BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.keys.append(self.headers["Authorization"])
            step = self.server.script.pop(0) if self.server.script else "ok"
            self.server.flying += 1
            self.server.most_flying = max(self.server.flying, self.server.most_flying)
        try:
            time.sleep(self.server.delay)
            self.answer(body, step)
        finally:
            with self.server.lock:
                self.server.flying -= 1

    def answer(self, body: dict, step: str) -> None:
        sent = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if step == "slow":
            time.sleep(1.0)
        if self.path != "/v1/chat/completions":
            self.error(404, f"no such path {self.path}")
        elif "response_format" in body and not self.server.structured:
            self.error(400, "response_format is not supported")
        elif step.isdigit():
            self.error(int(step), f"failed on demand; your key was {sent}")
        elif step == "quota":
            self.error(429, "you exceeded your quota", "insufficient_quota")
        elif step == "drop":
            self.connection.close()
        elif step == "half":  # the length promises more than comes
            self.send(200, json.dumps(self.completion(body, "ok", sent)).encode(), short=40)
        elif step == "not json":
            self.send(200, b'{"id": "x", "choices": [{"mess')
        elif step == "html":
            self.send(200, b"<html>gateway</html>", kind="text/html")
        else:
            self.send(200, json.dumps(self.completion(body, step, sent)).encode())

    def completion(self, body: dict, step: str, sent: str) -> dict:
        green = np.asarray(image_of(body)).astype(float)[..., 1].mean()
        number = round(green / 10)
        name = names_of(body)[number - 1]
        good = json.dumps({"classes": [{"name": name, "probability": 95}]})
        texts = {
            "ok": good,
            "empty": "",
            "none": '{"classes": []}',
            "prose": "I am sorry, I cannot help with that.",
            "around": f"Sure! Here is the list:\n```json\n{good}\n```\nAnything else?",
            "cut": good[:-2] + ', {"name": "ca',
            "unknown": good.replace("}]", '}, {"name": "ufo", "probability": 99}]'),
            "echo": good.replace("95}]", f'95}}, {{"name": "{sent}", "probability": 99}}]'),
            "released": f"[{number}: '{name}'], [95%]",
        }
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        message = {"role": "assistant", "content": texts.get(step, good)}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            **({"usage": usage} if self.server.usage else {}),
        }

    def error(self, status: int, message: str, code: str | None = None) -> None:
        self.send(status, json.dumps({"error": {"message": message, "code": code}}).encode())

    def send(
        self, status: int, data: bytes, kind: str = "application/json", short: int = 0
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status >= 429:  # what the client tries again: at once, else tests would take minutes
            self.send_header("Retry-After-Ms", "10")
        self.end_headers()
        self.wfile.write(data[: len(data) - short])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    """A running server; import the name into a test file to use it."""
    with ChatServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key, in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return KEY


def green_voc(root: Path, n: int, size: tuple[int, int] = (48, 36)) -> Path:
    """A data set whose image `i` stands, by its green, for class `1 + i % 20`."""
    write_voc(root, n, size=size)
    for i in range(n):
        colour = (40, 10 * (1 + i % 20), 90)
        Image.new("RGB", size, colour).save(root / f"JPEGImages/img_{i:04d}.jpg", quality=95)
    return root
