"""The one exception that users are meant to read."""

from __future__ import annotations

from ovsslib.redact import redact


class OvssError(Exception):
    """Something the user can fix: the message says what is wrong and what to do, and no secret.

    The command line prints the message on one line and exits non-zero; a traceback appears with
    `--debug` only. Results keep it as the reason why an image failed.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))
