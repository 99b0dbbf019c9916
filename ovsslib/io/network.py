"""What users and environment say about the network, checked once, before the first request.

The libraries that send requests find a wrong setting late, in words that name another fault, or try
again what cannot come right.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from ovsslib.errors import OvssError

_LABEL = r"\w(?:[\w-]{0,61}\w)?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_CERTIFICATES = {
    "httpx": ("SSL_CERT_FILE",),
    "requests": ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
}
"""Library that sends requests -> variables that name a file of certificates for it."""
_SOCKS = {
    "httpx": ("socksio", "socksio", ("socks5", "socks5h")),
    "requests": ("socks", "PySocks", ("socks4", "socks4a", "socks5", "socks5h")),
}
"""Library -> module and package that it needs for a SOCKS proxy, and which ones it knows."""


def check_address(
    address: str, what: str, schemes: Sequence[str] = ("http", "https")
) -> SplitResult:
    """Refuse an address that no request can be sent to.

    Args:
        address: Of a server.
        what: Names the setting in the error; the address itself may hold a secret.
        schemes: How it may begin.

    Returns:
        Its parts.

    Raises:
        OvssError: It begins otherwise, or its host or port cannot be one.
    """
    problem = None
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        if re.search(r"[\x00-\x1f\x7f]", address) or not address.lower().startswith(parts.scheme):
            problem = "it holds a space or control character in the wrong place"
        elif parts.scheme not in schemes:
            problem = f"it must begin with {' or '.join(f'{name}://' for name in schemes)}"
        elif ":" in host:
            ip_address(host)
        elif not _HOST.fullmatch(host):
            problem = "no host can have this name (write names outside ASCII as xn--...)"
    except ValueError:
        problem = "its brackets hold no IPv6 address"
    if problem is None:
        try:
            if parts.port == 0:
                raise ValueError
        except ValueError:
            problem = "its port is no number from 1 to 65535"
    if problem is not None:
        raise OvssError(f"{what}: {problem}; an address looks like http://localhost:8000/v1")
    return parts


def check_network(address: str, what: str, library: str) -> None:
    """Check an address, and the variables of the environment that requests to it depend on.

    Args:
        address: Of a server.
        what: Names the address in the error.
        library: What sends the requests, `"httpx"` or `"requests"`.

    Raises:
        OvssError: The address, a proxy or a file of certificates cannot be used.
    """
    parts = check_address(address, what)
    proxies = getproxies_environment()
    schemes: tuple[str, ...] = ("http", "https", "all")  # httpx sets them all up, needed or not
    if library != "httpx":
        schemes = () if proxy_bypass(parts.netloc) else (parts.scheme, "all")
    for scheme in schemes:
        if proxy := proxies.get(scheme):
            _check_proxy(proxy, f"the proxy in ${scheme.upper()}_PROXY", library)
    # httpx reads certificates whatever the address.
    names = _CERTIFICATES[library] if library == "httpx" or parts.scheme == "https" else ()
    for name in names:
        if path := os.environ.get(name):
            folder = os.path.isdir(path) and library == "requests"
            try:
                ssl.create_default_context(**{"capath" if folder else "cafile": path})  # type: ignore[arg-type]
            except OSError as error:
                raise OvssError(
                    f"${name}: no certificates can be read from {path} "
                    f"({error.strerror or error}); correct the variable or unset it"
                ) from error


def _check_proxy(proxy: str, what: str, library: str) -> None:
    """Refuse a proxy that the library cannot use."""
    full = proxy if "://" in proxy else f"http://{proxy}"
    module, package, kinds = _SOCKS[library]
    parts = check_address(full, what, ("http", "https", *kinds))
    if parts.scheme.startswith("socks") and find_spec(module) is None:
        raise OvssError(
            f"{what} needs the package {package}: python -m pip install {package}, or unset it"
        )


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on to the first; libraries wrap many times."""
    last: BaseException | None = error
    while last is not None:
        yield last
        last = last.__cause__ or last.__context__


def hopeless(error: BaseException) -> bool:
    """Whether what caused an error stays the same however often a request is sent."""
    return any(
        isinstance(cause, ssl.SSLError)
        or (isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME)
        for cause in causes(error)
    )
