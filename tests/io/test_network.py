"""Addresses and the environment's settings of the network, right and wrong."""

from __future__ import annotations

import socket
import ssl
from importlib.util import find_spec
from pathlib import Path

import certifi
import pytest

from ovsslib.errors import OvssError
from ovsslib.io.network import causes, check_address, check_network, hopeless

HERE = "http://127.0.0.1:8000/v1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates but those that a test sets."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in (*names, *map(str.lower, names)):
        monkeypatch.delenv(name, raising=False)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "address",
    [
        HERE,
        "HTTPS://Example.org",
        "http://localhost:65535/a b/é?x=1",
        "http://my_host.local./v1",
        "http://[::1]:80/v1",
        "http://xn--bcher-kva.example:/v1",
        f"http://{63 * 'a'}.org",
    ],
)
def test_addresses(address: str) -> None:
    check_address(address, "it")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "it must begin with http:// or https://"),
        ("localhost:8000/v1", "it must begin with"),
        ("ftp://host/v1", "it must begin with"),
        (" http://host/v1", "it holds a space or control character"),
        ("http://ho\nst/v1", "it holds a space or control character"),
        ("http://", "no host can have this name"),
        ("http:/host/v1", "no host can have this name"),
        ("http://a..b/v1", "no host can have this name"),
        ("http://.b/v1", "no host can have this name"),
        ("http://a b/v1", "no host can have this name"),
        ("http://-a/v1", "no host can have this name"),
        ("http://*/v1", "no host can have this name"),
        ("http://host\\x/v1", "no host can have this name"),
        (f"http://{64 * 'a'}.org", "no host can have this name"),
        ("http://exa\u2013mple/v1", "no host can have this name"),
        ("http://[::1/v1", "its brackets hold no IPv6 address"),
        ("http://[::g]/v1", "its brackets hold no IPv6 address"),
        ("http://host:x/v1", "its port is no number from 1 to 65535"),
        ("http://host:0/v1", "its port is no number from 1 to 65535"),
        ("http://host:-1/v1", "its port is no number from 1 to 65535"),
        ("http://host:65536/v1", "its port is no number from 1 to 65535"),
        ("http://host:1:2/v1", "its port is no number from 1 to 65535"),
    ],
)
def test_addresses_that_are_none(address: str, words: str) -> None:
    with pytest.raises(OvssError, match=f"^base_url: {words}.*; an address looks like http://"):
        check_address(address, "base_url")


@pytest.mark.parametrize("library", ["httpx", "requests"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("127.0.0.1:9", None),
        ("http://me:word@127.0.0.1:9", None),
        ("strange://127.0.0.1:9", ": it must begin with http:// or https:// or socks"),
        ("http://127.0.0.1:99999", ": its port"),
        ("http://a..b:9", ": no host"),
        (" http://127.0.0.1:9", ": it holds a space"),
        ("http://", ": no host"),
    ],
)
def test_proxies(
    monkeypatch: pytest.MonkeyPatch, library: str, name: str, proxy: str, words: str | None
) -> None:
    monkeypatch.setenv(name, proxy)
    if words is None:
        check_network(HERE, "it", library)
        return
    with pytest.raises(OvssError, match=rf"^the proxy in \${name.upper()}{words}"):
        check_network(HERE, "it", library)
    if library == "requests":  # asked only where it is needed
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        check_network(HERE, "it", library)


@pytest.mark.parametrize(("library", "module"), [("httpx", "socksio"), ("requests", "socks")])
def test_a_socks_proxy_needs_its_package(
    monkeypatch: pytest.MonkeyPatch, library: str, module: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    if find_spec(module) is None:
        with pytest.raises(OvssError, match=r"in \$ALL_PROXY needs the package .*pip install"):
            check_network(HERE, "it", library)
    else:
        check_network(HERE, "it", library)


@pytest.mark.parametrize(
    ("library", "name"),
    [("httpx", "SSL_CERT_FILE"), ("requests", "REQUESTS_CA_BUNDLE")],
)
def test_certificates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str, name: str
) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    for path in (tmp_path / "gone.pem", tmp_path / "no.pem"):
        monkeypatch.setenv(name, str(path))
        with pytest.raises(OvssError, match=rf"^\${name}: no certificates can be read from"):
            check_network("https://localhost", "it", library)
    monkeypatch.setenv(name, str(tmp_path))
    if library == "requests":
        check_network("https://localhost", "it", library)
        monkeypatch.setenv(name, str(tmp_path / "gone.pem"))
        check_network(HERE, "it", library)  # which needs none
    else:
        with pytest.raises(OvssError, match="no certificates can be read"):
            check_network(HERE, "it", library)
    monkeypatch.setenv(name, certifi.where())
    check_network("https://localhost", "it", library)


@pytest.mark.parametrize(
    ("first", "never"),
    [
        (ssl.SSLError(1, "wrong version number"), True),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), True),
        (socket.gaierror(socket.EAI_AGAIN, "later"), False),
        (ConnectionRefusedError(111, "refused"), False),
    ],
)
def test_what_cannot_come_right(first: OSError, never: bool) -> None:
    wrapped = ValueError("wrapped")
    wrapped.__cause__ = first
    assert [*causes(wrapped)] == [wrapped, first]
    assert hopeless(wrapped) == never
