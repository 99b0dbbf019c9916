"""One image, one server: what is sent, what may go wrong, and what never shows."""

from __future__ import annotations

import logging
import time
import traceback

import pytest
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.filters.answers.file import Answer
from ovsslib.filters.chat.client import Asker, Server, ServerError
from ovsslib.filters.chat.question import Question
from support.chat_server import KEY, ChatServer, chat, key

__all__ = ["chat", "key"]

QUESTION = Question(("cat", "hot dog", "cow"))
COW = Image.new("RGB", (40, 30), (90, 30, 90))


def asker(chat: ChatServer, **settings: object) -> Asker:
    server = {"base_url": chat.url, "timeout": 5.0, "attempts": 4} | settings
    return Asker(Server(**server), QUESTION)


def labels(answer: Answer) -> list[int]:
    return [guess.label for guess in answer.parsed.guesses]


def test_what_is_sent_and_read(chat: ChatServer, key: str) -> None:
    answer = asker(chat, model="some-model").ask("p1", COW)
    assert (answer.image, labels(answer), answer.usage) == ("p1", [3], (1000, 100))
    (body,) = chat.requests
    assert chat.keys == [f"Bearer {key}"]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("some-model", 0.0, 1500)
    schema = body["response_format"]["json_schema"]["schema"]
    names = schema["properties"]["classes"]["items"]["properties"]["name"]["enum"]
    assert names == ["cat", "hot dog", "cow"]


@pytest.mark.parametrize(
    ("step", "remarked"),
    [("around", True), ("cut", True), ("unknown", True), ("released", False), ("echo", True)],
)
def test_messy_answers_are_read_and_nothing_is_silent(
    chat: ChatServer, key: str, step: str, remarked: bool
) -> None:
    chat.script = [step]
    answer = asker(chat).ask("p", COW)
    assert labels(answer) == [3]
    assert bool(answer.parsed.remarks) == remarked
    assert len(chat.requests) == 1
    assert key not in repr(answer)


@pytest.mark.parametrize("step", ["429", "500", "503", "drop", "half"])
def test_what_may_pass_is_tried_again(chat: ChatServer, key: str, step: str) -> None:
    chat.script = [step]
    assert labels(asker(chat).ask("p", COW)) == [3]
    assert len(chat.requests) == 2


@pytest.mark.parametrize("step", ["not json", "html", "empty"])
def test_a_reply_without_an_answer_is_asked_for_once_more(
    chat: ChatServer, key: str, step: str
) -> None:
    chat.script = [step]
    assert labels(asker(chat).ask("p", COW)) == [3]
    chat.script = [step, step]
    with pytest.raises(ServerError, match="sends an empty reply, or no chat completion"):
        asker(chat).ask("p", COW)
    assert len(chat.requests) == 4


def test_slow_answers(chat: ChatServer, key: str) -> None:
    chat.script = ["slow"]
    assert labels(asker(chat, timeout=0.3).ask("p", COW)) == [3]
    chat.script = ["slow", "slow"]
    with pytest.raises(ServerError, match=r"no answer in 2 attempts \(nothing within 0.3 s\)"):
        asker(chat, timeout=0.3, attempts=2).ask("p", COW)


def test_no_server(chat: ChatServer, key: str) -> None:
    chat.server_close()
    with pytest.raises(ServerError, match=r"no answer in 1 attempts \(.*refused") as error:
        asker(chat, attempts=1).ask("p", COW)
    assert not error.value.final


def test_attempts_end(chat: ChatServer, key: str) -> None:
    chat.script = ["500"] * 9
    with pytest.raises(ServerError, match=r"gave no answer in 4 attempts \(500: .*try again") as e:
        asker(chat).ask("p", COW)
    assert len(chat.requests) == 4
    assert not e.value.final


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_what_will_not_pass_is_not_tried_again(chat: ChatServer, key: str, status: str) -> None:
    chat.script = [status]
    with pytest.raises(ServerError, match=rf"answers {status}: .*check \$OPENAI_API_KEY") as error:
        asker(chat).ask("p", COW)
    assert error.value.final
    assert len(chat.requests) == 1


def test_an_empty_account_ends_the_asking(chat: ChatServer, key: str) -> None:
    chat.script = ["quota"] * 4
    with pytest.raises(ServerError, match=r"answers 429: .*quota") as error:
        asker(chat).ask("p", COW)
    assert error.value.final


def test_a_refused_image(chat: ChatServer, key: str) -> None:
    chat.script = ["400", "400"]
    patient = asker(chat)
    with pytest.raises(OvssError, match=r"the server refuses this image \(400"):
        patient.ask("p", COW)
    assert ["response_format" in body for body in chat.requests] == [True, False]
    patient.ask("p", COW)
    assert "response_format" in chat.requests[-1]  # one bad image does not end schemas


def test_a_server_without_schemas_is_asked_in_plain_words(chat: ChatServer, key: str) -> None:
    chat.structured = False
    patient = asker(chat)
    assert labels(patient.ask("p", COW)) == labels(patient.ask("q", COW)) == [3]
    assert ["response_format" in body for body in chat.requests] == [True, False, False]


def test_prose_is_asked_for_once_more(chat: ChatServer, key: str) -> None:
    chat.script = ["prose"]
    assert labels(asker(chat).ask("p", COW)) == [3]
    chat.script = ["prose", "prose"]
    answer = asker(chat).ask("p", COW)
    assert not answer.parsed.readable
    assert answer.usage == (2000, 200)
    chat.script = ["none"]
    answer = asker(chat).ask("p", COW)
    assert (labels(answer), answer.parsed.readable) == ([], True)
    assert len(chat.requests) == 5


def test_the_key_shows_nowhere(
    chat: ChatServer, key: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown = []
    for script in (["401"], ["400", "400"], ["500"] * 2, ["echo"], ["429", "ok"], ["drop"] * 2):
        chat.script = list(script)
        patient = asker(chat, attempts=2)
        shown.append(repr(patient.server) + repr(vars(patient)))
        try:
            shown.append(repr(patient.ask("p", COW)))
        except OvssError:
            shown.append(traceback.format_exc())  # what --debug shows
    output = capfd.readouterr()
    everything = "\n".join([*shown, caplog.text, output.out, output.err])
    assert "[key]" in everything
    assert key not in everything
    assert key[:12] not in everything
    assert chat.keys == [f"Bearer {key}"] * len(chat.keys)


@pytest.mark.parametrize("bad", ["\n", "\r\n", "\t", "\x7f", "é", "\u2013", "\u2028", "\udcff"])
def test_a_key_that_no_header_can_hold_is_refused_before_a_request(
    chat: ChatServer, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    lines = ("first-line-of-it", "second-line-of-it")
    monkeypatch.setenv("OPENAI_API_KEY", bad.join(lines))
    with pytest.raises(OvssError, match=r"^OPENAI_API_KEY holds a line end, another") as error:
        asker(chat)
    shown = "".join(traceback.format_exception(error.value))
    assert not any(line in shown for line in lines)
    assert chat.requests == []


def test_a_line_end_after_the_key_is_not_part_of_it(
    chat: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\r\n")
    asker(chat).ask("p", COW)
    assert chat.keys == [f"Bearer {KEY}"]


def test_the_key_in_place_of_its_variable_is_not_shown() -> None:
    with pytest.raises(OvssError, match="key_env must name an environment variable") as error:
        Server(key_env=KEY)
    assert KEY not in str(error.value)


def test_a_proxy_that_cannot_be_used(
    chat: ChatServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "strange://me:password-of-it@127.0.0.1:9")
    with pytest.raises(OvssError, match=r"^the proxy in \$HTTP_PROXY: it must begin with") as error:
        asker(chat)
    assert "password-of-it" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
@pytest.mark.parametrize("value", ["org\nx", "org\u2013x"])
def test_other_headers_are_checked_as_the_key_is(
    chat: ChatServer, key: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(OvssError, match=f"{name}.* holds a line end or"):
        asker(chat)


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": -1.0},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": 1e30},
        {"attempts": 0},
        {"attempts": 10**9},
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
    ],
)
def test_numbers_out_of_range(settings: dict) -> None:
    (name,) = settings
    with pytest.raises(OvssError, match=rf"{name} must be (int|float).* from .* to .*, got"):
        Server(**settings)


def test_what_cannot_come_right_is_not_tried_again(chat: ChatServer, key: str) -> None:
    """A server without TLS never gets a certificate, however often it is asked."""
    begin = time.monotonic()
    with pytest.raises(ServerError, match=r"cannot be asked \(.*\); check base_url") as error:
        asker(chat, base_url=chat.url.replace("http:", "https:"), attempts=8)
    assert error.value.final
    assert time.monotonic() - begin < 5
    assert chat.requests == []


def test_where_the_key_comes_from(chat: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(OvssError, match="set OPENAI_API_KEY to your key in the environment"):
        Asker(Server(), QUESTION)
    asker(chat).ask("p", COW)  # a local server needs none
    monkeypatch.setenv("OTHER", "other-key")
    asker(chat, key_env="OTHER").ask("p", COW)
    assert KEY not in str(chat.keys)
    assert chat.keys[1] == "Bearer other-key"


@pytest.mark.parametrize(
    "address", ["localhost:8000", "http://me:secret@host/v1", "https://host/v1?key=secret", ""]
)
def test_addresses_that_could_hold_a_secret(address: str) -> None:
    with pytest.raises(OvssError, match="base_url must be an address") as error:
        Server(base_url=address)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("address", ["http://host:99999/v1", "http://a..b/v1", "http://[::1/v1"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(OvssError, match=r"^base_url: .*; an address looks like"):
        Server(base_url=address)
