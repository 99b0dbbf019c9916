"""The public names, and how little it takes to import them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ovsslib


def test_public_names_resolve() -> None:
    assert len(ovsslib.__all__) <= 12
    for name in ovsslib.__all__:
        assert getattr(ovsslib, name) is not None
    assert set(dir(ovsslib)) == set(ovsslib.__all__)


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'segmnt'"):
        _ = ovsslib.segmnt


def test_import_is_light() -> None:
    code = (
        "import sys, ovsslib; ovsslib.preset('blip'); ovsslib.PnPOVSS;"
        "sys.exit(bool({'torch', 'transformers', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
