"""The one exception that users are meant to read."""

from __future__ import annotations


class OvssError(Exception):
    """Something the user can mend: the message says what is wrong and what to do.

    The command line prints the message on one line and exits non-zero; a traceback appears with
    ``--debug`` only.
    """
