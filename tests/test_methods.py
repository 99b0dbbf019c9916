"""The registry of methods."""

from __future__ import annotations

import pytest

from ovsslib.errors import OvssError
from ovsslib.lookup import resolve
from ovsslib.methods import METHODS, list_methods, load


def test_every_method_resolves() -> None:
    assert list_methods() == sorted(METHODS)
    for target in METHODS.values():
        assert callable(resolve(target))


def test_load_unknown_method() -> None:
    with pytest.raises(OvssError, match="did you mean 'pnp-ovss'"):
        load("pnp-ovs")
